using Vhost.Backend;
using Vhost.Protocol;

namespace VhostBackend1;

/// <summary>
/// The device: this one copies what the driver writes into what the driver reads. What the driver says is its word alone: read it once, check it, use the copy.
/// </summary>
public sealed class Device : IVhostUserDevice
{
    private const int MostRequests = 64;

    /// <summary>A driver may ask for gigabytes at once; other queues wait meanwhile.</summary>
    private const uint MostBytes = 64 << 10;

    private readonly byte[] _bytes = new byte[4096];

    /// <inheritdoc/>
    public int QueueCount => 1;

    /// <inheritdoc/>
    public VirtioFeatures Features => VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | VirtioFeatures.InOrder | VirtioFeatures.RingPacked;

    /// <inheritdoc/>
    public void Process(DeviceVirtqueue queue)
    {
        for (int turn = 0; turn < MostRequests && queue.TryPop(out DescriptorChain chain); turn++)
            queue.Complete(chain, Copy(chain.Readable, chain.Writable));
    }

    private uint Copy(GuestBuffers from, GuestBuffers to)
    {
        uint length = Math.Min(Math.Min(from.Length, to.Length), MostBytes);
        for (uint done = 0; done < length;)
        {
            Span<byte> piece = _bytes.AsSpan(0, (int)Math.Min((uint)_bytes.Length, length - done));
            from.Slice(done).CopyTo(piece);
            to.Slice(done).CopyFrom(piece);
            done += (uint)piece.Length;
        }

        return length;
    }
}
