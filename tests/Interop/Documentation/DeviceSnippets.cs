using Microsoft.Win32.SafeHandles;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Interop.Tests.Loopback;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The code of docs/devices.md, run with a driver that the test plays.</summary>
public sealed class DeviceSnippets : IDisposable
{
    private static readonly GuestAddress _request = new(0x8000);
    private static readonly GuestAddress _answer = new(0x9000);

    private readonly SharedMemory _ram = SharedMemory.CreateSealed("guest", 1 << 20);
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();

    public void Dispose()
    {
        _call.Dispose();
        _kick.Dispose();
        _ram.Dispose();
    }

    [Fact]
    public async Task The_application_serves_the_queues()
    {
        EchoDevice device = new();
        await using VhostUserBackend backend = new(device);
        (VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(backEnd);
        using GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), _ram));
        using GuestMemoryLease lease = memory.Acquire();
        await using (VhostUserFrontend session = await VhostUserFrontend.StartAsync(frontEnd))
        {
            await session.SetMemoryAsync(memory);
            using DriverVirtqueue ring = DriverVirtqueue.Create(memory, new GuestAddress(0), new DriverVirtqueueOptions { Size = 8 }, session.AcknowledgedFeatures);
            await session.StartVringAsync(ring.Describe(0, _kick, _call));
            for (byte round = 0; round < 20; round++)
                await EchoAsync(ring, lease, [round, 1, 2, 3]);
        }

        await serving.InTime();
        await device.Served.InTime(); // the queue was stopped, and whoever serves it has noticed
    }

    [Fact]
    public async Task A_buffer_of_one_device_is_found_by_another()
    {
        using SharedObjectRegistry registry = new();
        await using SharingPair camera = await SharingPair.StartAsync(new() { SharedObjects = registry });
        await using SharingPair display = await SharingPair.StartAsync(new() { SharedObjects = registry });
        (await ShareAsync(camera.Backend, display.Backend, camera.Device.Id)).Should().BeTrue();
    }

    private static async Task<bool> ShareAsync(VhostUserBackend camera, VhostUserBackend display, Guid frame)
    {
        // snippet: requests
        await camera.Requests.AddSharedObjectAsync(frame); // its device opens the buffer when somebody wants it

        using SafeFileHandle? buffer = await display.Requests.FindSharedObjectAsync(frame);
        if (buffer is null)
            return false; // nobody has it, or no more

        // end
        return true;
    }

    private async Task EchoAsync(DriverVirtqueue ring, GuestMemoryLease lease, byte[] bytes)
    {
        lease.TryCopyFrom(bytes, _request).Should().BeTrue();
        ring.TrySubmit([new GuestBuffer(_request, (uint)bytes.Length)], [new GuestBuffer(_answer, (uint)bytes.Length)], token: 1).Should().BeTrue();
        if (ring.Publish())
            _kick.Signal();
        DriverCompletion[] done = new DriverCompletion[1];
        await Eventually.TrueAsync(() => ring.Drain(done) == 1);
        byte[] answer = new byte[done[0].BytesWritten];
        lease.TryCopyTo(_answer, answer).Should().BeTrue();
        answer.Should().Equal(bytes);
    }

    // snippet: application
    /// <summary>A device whose queue is served by a task of the application; a thread that polls many of them looks the same, without the wait.</summary>
    private sealed class EchoDevice : IApplicationServedDevice
    {
        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1 | VirtioFeatures.EventIndex | VirtioFeatures.RingPacked;

        /// <summary>Ends when the queue was stopped.</summary>
        public Task Served { get; private set; } = Task.CompletedTask;

        public QueueDispatch DispatchOf(int queue, QueueDispatch chosen) => QueueDispatch.Application;

        public void Process(DeviceVirtqueue queue) => throw new NotSupportedException(); // never called

        public void QueueStarted(ApplicationQueue queue) => Served = Task.Run(() => ServeAsync(queue));

        private static async Task ServeAsync(ApplicationQueue queue)
        {
            while (!queue.IsStopped)
            {
                if (queue.TryEnter(out DeviceVirtqueue? ring)) // not while the queue is disabled, or being changed
                {
                    try
                    {
                        for (int turn = 0; turn < 64 && ring.TryPop(out DescriptorChain request); turn++)
                            ring.Complete(request, Echo(request.Readable, request.Writable));
                    }
                    finally
                    {
                        queue.Exit(); // shows what was completed, and lets the session have the queue
                    }
                }

                await queue.WaitAsync(); // not at all while requests are there; until the driver kicks, or something changes
            }
        }

        private static uint Echo(GuestBuffers from, GuestBuffers to)
        {
            Span<byte> bytes = stackalloc byte[64];
            bytes = bytes[..(int)Math.Min(Math.Min(from.Length, to.Length), 64)];
            from.CopyTo(bytes);
            to.CopyFrom(bytes);
            return (uint)bytes.Length;
        }
    }

    // end
}
