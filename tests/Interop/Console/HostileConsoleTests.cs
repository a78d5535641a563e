using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>What a client makes of a device that talks nonsense on its control queue.</summary>
public sealed class HostileConsoleTests
{
    [Fact]
    public async Task Control_messages_that_make_no_sense_are_ignored()
    {
        NonsenseDevice device = new(queues: 4);
        foreach (byte[] nonsense in (byte[][])
        [
            [], [1], [0, 0, 0, 0, 1, 0, 1], // shorter than a message
            Message(99, VirtioConsoleEvent.DeviceAdd), Message(uint.MaxValue, VirtioConsoleEvent.PortOpen), // no such port
            Message(0, VirtioConsoleEvent.Resize), [.. Message(0, VirtioConsoleEvent.Resize), 1, 2, 3], // without its size
            Message(0, (VirtioConsoleEvent)0x7777), Message(0, VirtioConsoleEvent.DeviceReady),
            [.. Message(0, VirtioConsoleEvent.PortName), .. Enumerable.Repeat((byte)0xFF, 4000)], // no text, and no end
            .. Enumerable.Repeat(Message(0, VirtioConsoleEvent.DeviceAdd), 200), // again and again
        ])
        {
            device.ToSay.Enqueue(nonsense);
        }

        device.ToSay.Enqueue(Message(0, VirtioConsoleEvent.PortOpen));
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(100) });
        using CancellationTokenSource stop = new();
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        Task serving = Task.Run(() => backend.ServeAsync(back, stop.Token));
        await using (ConsoleClient client = await ConsoleClient.StartAsync(front).InTime())
        {
            await client.Ports[0].Opened.InTime();
            client.Ports.Should().ContainSingle("the device says it has billions, and one was asked for");
            client.Size.Should().Be(default(ConsoleSize));
            client.Ports[0].Name!.Length.Should().BeLessThanOrEqualTo(VirtioConsoleControl.MaxName);
            client.Completion.IsCompleted.Should().BeFalse();
            await client.Ports[0].Output.WriteAsync("still here");
            await Eventually.TrueAsync(() => device.Heard == 10);
        }

        await stop.CancelAsync();
        await serving.InTime();
    }

    [Fact]
    public async Task A_device_that_offers_control_queues_and_has_none_is_refused_by_name()
    {
        NonsenseDevice device = new(queues: 2);
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(100) });
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        Task serving = Task.Run(() => backend.ServeAsync(back));

        await FluentActions.Awaiting(() => ConsoleClient.StartAsync(front).AsTask()).Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*MULTIPORT*serves 2 queues*");
        await serving.InTime();
    }

    private static byte[] Message(uint port, VirtioConsoleEvent what)
    {
        byte[] bytes = new byte[VirtioConsoleControl.Size];
        new VirtioConsoleControl(port, what, 1).Write(bytes);
        return bytes;
    }

    /// <summary>Says what it was given on the queue on which a driver listens, and counts the bytes of port 0.</summary>
    private sealed class NonsenseDevice(int queues) : IVhostUserDevice
    {
        private long _heard;

        internal ConcurrentQueue<byte[]> ToSay { get; } = new();

        internal long Heard => Volatile.Read(ref _heard);

        public int QueueCount => queues;

        public VirtioFeatures Features => VirtioFeatures.Version1 | (VirtioFeatures)(ulong)VirtioConsoleFeatures.MultiPort;

        public int ConfigLength => VirtioConsoleConfig.Size;

        public bool TryReadConfig(uint offset, Span<byte> destination)
        {
            destination.Fill(0xFF);
            return true;
        }

        public void Process(DeviceVirtqueue queue)
        {
            while (queue.TryPop(out DescriptorChain chain))
            {
                if (queue.Index == 1)
                {
                    Volatile.Write(ref _heard, _heard + chain.Readable.Length);
                    queue.Complete(chain, 0);
                }
                else if (queue.Index == 2 && ToSay.TryDequeue(out byte[]? message))
                {
                    queue.Complete(chain, (uint)chain.Writable.CopyFrom(message));
                }
                else if (queue.Index == 3)
                {
                    queue.Complete(chain, 0);
                }
                else
                {
                    chain.Detach(); // nothing to say, for ever
                }
            }
        }
    }
}
