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
    private readonly SnippetDriver _driver = new();

    public void Dispose() => _driver.Dispose();

    [Fact]
    public async Task The_application_serves_the_queues()
    {
        EchoDevice device = new();
        await using VhostUserBackend backend = new(device);
        (VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(backEnd);
        await using (VhostUserFrontend session = await VhostUserFrontend.StartAsync(frontEnd))
        {
            await _driver.StartAsync(session);
            for (byte round = 0; round < 20; round++)
            {
                byte[] bytes = [round, 1, 2, 3];
                (await _driver.AskAsync(bytes, bytes.Length)).Should().Equal(bytes);
            }
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
