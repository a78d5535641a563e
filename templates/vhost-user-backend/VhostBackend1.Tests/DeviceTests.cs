using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Xunit;

namespace VhostBackend1.Tests;

/// <summary>Both halves in one process: a driver without a guest, and the device.</summary>
public sealed class DeviceTests
{
    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData(VirtioFeatures.Version1)]
    [InlineData(VirtioFeatures.Version1 | VirtioFeatures.RingPacked)]
    public async Task What_is_written_can_be_read(VirtioFeatures features)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        await using VhostUserBackend backend = new(new Device());
        Task serving = backend.ServeAsync(back);
        await using (VhostUserFrontend session = await VhostUserFrontend.StartAsync(front, new VhostUserFrontendOptions { WantedFeatures = features }))
        {
            using SharedMemory ram = SharedMemory.CreateSealed("test", 1 << 20);
            using GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), ram));
            using GuestMemoryLease lease = memory.Acquire();
            using EventNotifier kick = new();
            using EventNotifier call = new();
            using DriverVirtqueue ring = DriverVirtqueue.Create(memory, new GuestAddress(0), new DriverVirtqueueOptions { Size = 8 }, session.AcknowledgedFeatures);
            await session.SetMemoryAsync(memory);
            await session.StartVringAsync(ring.Describe(0, kick, call));

            GuestBuffer request = new(new GuestAddress(0x8_0000), 5);
            GuestBuffer answer = new(new GuestAddress(0x9_0000), 5);
            Assert.True(lease.TryCopyFrom("hello"u8, request.Address));
            Assert.True(ring.TrySubmit([request], [answer], token: 1));
            if (ring.Publish())
                kick.Signal();
            DriverCompletion completion = await CompletionAsync(ring, call);

            byte[] copy = new byte[5];
            Assert.True(lease.TryCopyTo(answer.Address, copy));
            Assert.Equal("hello"u8.ToArray(), copy);
            Assert.Equal(5u, completion.BytesWritten);
        }

        await serving.WaitAsync(_deadline);
    }

    private static async Task<DriverCompletion> CompletionAsync(DriverVirtqueue ring, EventNotifier call)
    {
        using CancellationTokenSource limit = new(_deadline);
        DriverCompletion[] done = new DriverCompletion[1];
        while (ring.Drain(done) == 0)
        {
            if (ring.ArmCall())
                await call.WaitAsync(limit.Token);
            call.TryConsume();
        }

        return done[0];
    }
}
