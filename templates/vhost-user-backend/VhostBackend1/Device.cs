using Vhost.Backend;
using Vhost.Protocol;

namespace VhostBackend1;

/// <summary>
/// The device: this one copies what the driver writes into what the driver reads. What the driver says is its word alone: read it once, check it, use the copy.
/// </summary>
/// <param name="queues">How many queues it has, 1 to 256.</param>
public sealed class Device(int queues = 1) : IVhostUserDevice
{
    private const int MostRequests = 64;

    /// <summary>A driver may ask for gigabytes at once; other queues wait meanwhile.</summary>
    private const uint MostBytes = 64 << 10;

    private const int PieceSize = 4096;

    /// <inheritdoc/>
    public int QueueCount => queues;

    /// <inheritdoc/>
    public VirtioFeatures Features => VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | VirtioFeatures.InOrder | VirtioFeatures.RingPacked;

    /// <summary>
    /// Serves one queue; another one may be served at the same time, on another thread. What all queues use, a field for example, must be safe for that: here they share nothing.
    /// </summary>
    /// <param name="queue">The queue.</param>
    public void Process(DeviceVirtqueue queue)
    {
        Span<byte> piece = stackalloc byte[PieceSize];
        for (int turn = 0; turn < MostRequests && queue.TryPop(out DescriptorChain chain); turn++)
            queue.Complete(chain, Copy(chain.Readable, chain.Writable, piece)); // what is left after so many comes with the next call
    }

    private static uint Copy(GuestBuffers from, GuestBuffers to, Span<byte> piece)
    {
        uint length = Math.Min(Math.Min(from.Length, to.Length), MostBytes);
        for (uint done = 0; done < length;)
        {
            Span<byte> part = piece[..(int)Math.Min((uint)piece.Length, length - done)];
            from.Slice(done).CopyTo(part);
            to.Slice(done).CopyFrom(part);
            done += (uint)part.Length;
        }

        return length;
    }
}
