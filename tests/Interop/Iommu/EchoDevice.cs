using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests.Iommu;

/// <summary>Copies what it reads to what it writes, at once or when it is told.</summary>
internal sealed class EchoDevice(int queues = 1) : IVhostUserDevice
{
    public int QueueCount => queues;

    public VirtioFeatures Features => VirtioFeatures.Version1 | VirtioFeatures.RingPacked | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors | VirtioFeatures.InOrder;

    public int ConfigLength => 8;

    /// <summary>A queue of which requests are kept; -1: none.</summary>
    internal int KeepingQueue { get; set; } = -1;

    internal BlockingCollection<DetachedChain> Kept { get; } = [];

    public bool TryReadConfig(uint offset, Span<byte> destination)
    {
        destination.Clear();
        return true;
    }

    public void Process(DeviceVirtqueue queue)
    {
        while (queue.TryPop(out DescriptorChain chain))
        {
            if (queue.Index == KeepingQueue)
                Kept.Add(chain.Detach());
            else
                queue.Complete(chain, Echo(chain.Readable, chain.Writable));
        }
    }

    internal static void Complete(DetachedChain chain) => chain.Complete(Echo(chain.Readable, chain.Writable));

    private static uint Echo(GuestBuffers from, GuestBuffers to)
    {
        byte[] bytes = new byte[Math.Min(from.Length, to.Length)];
        from.CopyTo(bytes);
        to.CopyFrom(bytes);
        return (uint)bytes.Length;
    }
}
