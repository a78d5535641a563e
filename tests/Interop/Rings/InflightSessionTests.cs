using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Two back-ends, one after the other, and a front-end that keeps ring, memory and region for both.</summary>
public sealed class InflightSessionTests
{
    private const int Entries = 16;

    private static readonly VhostUserFrontendOptions _options = new()
    {
        RequiredProtocolFeatures = VhostUserProtocolFeatures.InflightShmFd,
        Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline },
    };

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.InOrder)]
    [InlineData(VirtioFeatures.RingPacked)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder)]
    [Shows(Counterpart.Loopback, VhostUserRequest.GetInflightFd, VhostUserRequest.SetInflightFd, VhostUserProtocolFeatures.InflightShmFd)]
    public async Task What_one_back_end_left_the_next_one_serves(VirtioFeatures ring)
    {
        VirtioFeatures features = ring | VirtioFeatures.Version1;
        using GuestMemory memory = GuestRam.Create(1 << 20);
        using EventNotifier kick = new();
        using EventNotifier call = new();
        using DriverVirtqueue driver = DriverVirtqueue.Create(memory, default, new DriverVirtqueueOptions { Size = Entries }, features);
        InflightRegion region;
        KeepingDevice first = new() { Answers = 2 };
        await using (Served served = await Served.StartAsync(first, features, memory))
        {
            region = (await served.Frontend.CreateInflightRegionAsync(1, Entries))!;
            await served.Frontend.UseInflightRegionAsync(region);
            await served.Frontend.StartVringAsync(driver.Describe(0, kick, call));
            Submit(memory, driver, kick, 0, 5);
            await Eventually.TrueAsync(() => first.Seen.Count == 5);
            await served.Frontend.Invoking(session => session.UseInflightRegionAsync(region).AsTask()).Should().ThrowAsync<InvalidOperationException>().WithMessage("Ring 0 *");
        }

        Collect(driver, 2).Should().Equal(0, 1);
        KeepingDevice second = new();
        using (region)
        {
            await using Served served = await Served.StartAsync(second, features, memory);
            await served.Frontend.UseInflightRegionAsync(region);
            Submit(memory, driver, kick, 5, 2);
            await served.Frontend.StartVringAsync(driver.Describe(0, kick, call));

            Collect(driver, 5).Should().Equal(2, 3, 4, 5, 6);
            second.Seen.Should().Equal([2, 3, 4, 5, 6], "the requests that were kept come first, in their order");
            Submit(memory, driver, kick, 7, 1);
            Collect(driver, 1).Should().Equal(7);
            driver.InFlight.Should().Be(0);
        }
    }

    [Fact]
    public async Task A_region_for_more_than_the_back_end_has_is_refused_and_the_session_goes_on()
    {
        using GuestMemory memory = GuestRam.Create(1 << 20);
        await using Served served = await Served.StartAsync(new KeepingDevice(), VirtioFeatures.Version1, memory);

        await served.Frontend.Invoking(session => session.CreateInflightRegionAsync(0, Entries).AsTask()).Should().ThrowAsync<ArgumentOutOfRangeException>();
        await served.Frontend.Invoking(session => session.CreateInflightRegionAsync(1, 32769).AsTask()).Should().ThrowAsync<ArgumentOutOfRangeException>();
        using InflightRegion? region = await served.Frontend.CreateInflightRegionAsync(1, 256);
        region!.Area.MmapSize.Should().BeGreaterThanOrEqualTo(256 * 16);
    }

    /// <summary>Each request is one readable buffer that says which it is.</summary>
    private static void Submit(GuestMemory memory, DriverVirtqueue driver, EventNotifier kick, ulong first, int count)
    {
        using GuestMemoryLease lease = memory.Acquire();
        for (ulong token = first; token < first + (ulong)count; token++)
        {
            GuestAddress at = new(0x8_0000 + (token * 0x1000));
            lease.TryWrite(at, token).Should().BeTrue();
            driver.TrySubmit([new GuestBuffer(at, 8)], [], token).Should().BeTrue();
        }

        if (driver.Publish())
            kick.Signal();
    }

    private static ulong[] Collect(DriverVirtqueue driver, int count)
    {
        DriverCompletion[] done = new DriverCompletion[Entries];
        int got = 0;
        SpinWait.SpinUntil(() => (got += driver.Drain(done.AsSpan(got))) >= count, Eventually.Deadline).Should().BeTrue();
        return [.. done.Take(got).Select(one => one.Token)];
    }

    /// <summary>One session of a device that stops waiting for requests soon after the front-end has gone.</summary>
    private sealed class Served : IAsyncDisposable
    {
        private readonly TempSocket _socket = new();
        private readonly CancellationTokenSource _stop = new();
        private readonly VhostUserBackend _backend;
        private readonly Task _serving;

        private Served(KeepingDevice device)
        {
            _backend = new VhostUserBackend(device, new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(50) });
            _serving = _backend.ListenAsync(_socket.Path, _stop.Token);
        }

        internal VhostUserFrontend Frontend { get; private set; } = null!;

        internal static async Task<Served> StartAsync(KeepingDevice device, VirtioFeatures features, GuestMemory memory)
        {
            Served served = new(device);
            served.Frontend = await VhostUserFrontend.ConnectAsync(served._socket.Path, _options);
            await served.Frontend.SetFeaturesAsync(features | VirtioFeatures.VhostUserProtocolFeatures);
            await served.Frontend.SetMemoryAsync(memory);
            return served;
        }

        public async ValueTask DisposeAsync()
        {
            await Frontend.DisposeAsync();
            await _stop.CancelAsync();
            await _serving.InTime();
            await _backend.DisposeAsync();
            _stop.Dispose();
            _socket.Dispose();
        }
    }

    /// <summary>Answers so many requests and keeps all others.</summary>
    private sealed class KeepingDevice : IVhostUserDevice
    {
        internal int Answers { get; set; } = int.MaxValue;

        /// <summary>Where the requests lay, in the order in which they were taken.</summary>
        internal ConcurrentQueue<ulong> Seen { get; } = [];

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1 | VirtioFeatures.RingPacked | VirtioFeatures.InOrder;

        public void Process(DeviceVirtqueue queue)
        {
            while (queue.TryPop(out DescriptorChain chain))
            {
                byte[] token = new byte[8];
                chain.Readable.CopyTo(token);
                Seen.Enqueue(BitConverter.ToUInt64(token));
                if (Answers-- > 0)
                    queue.Complete(chain, 0);
                else
                    chain.Detach();
            }
        }
    }
}
