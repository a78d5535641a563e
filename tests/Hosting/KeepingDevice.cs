using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Hosting.Tests;

/// <summary>A disk that keeps each request until it is told to answer, or fails its queue.</summary>
internal sealed class KeepingDevice : IVhostUserDevice, IDisposable
{
    private readonly BlockDevice _disk = TestHost.Disk();

    internal ConcurrentQueue<DetachedChain> Kept { get; } = new();

    internal bool Throws { get; set; }

    internal bool IsDisposed { get; private set; }

    public int QueueCount => 1;

    public VirtioFeatures Features => _disk.Features;

    public int ConfigLength => _disk.ConfigLength;

    public bool TryReadConfig(uint offset, Span<byte> destination) => _disk.TryReadConfig(offset, destination);

    public void Process(DeviceVirtqueue queue)
    {
        if (Throws)
            throw new InvalidOperationException("as it was told to");
        while (queue.TryPop(out DescriptorChain chain))
            Kept.Enqueue(chain.Detach());
    }

    public void Dispose() => IsDisposed = true;

    /// <summary>Answers what is kept, with success.</summary>
    internal void Answer()
    {
        while (Kept.TryDequeue(out DetachedChain? chain))
        {
            chain.Writable.Fill(0);
            chain.Complete(chain.Writable.Length);
        }
    }
}
