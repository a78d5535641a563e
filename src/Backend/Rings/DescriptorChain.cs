using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// One request of the driver: buffers the device may read, then buffers it may write (virtio 1.2, 2.6). Already validated: every byte is mapped,
/// the chain is no longer than the ring, and its length fits 32 bits. What the bytes say is still the driver's word.
/// </summary>
/// <remarks>
/// Lifetime: until the next <see cref="DeviceVirtqueue.TryPop"/> of the same queue; <see cref="Detach"/> makes a longer-lived copy of the list.
/// Threading: the queue's worker.
/// </remarks>
public readonly ref struct DescriptorChain
{
    private readonly DeviceVirtqueue _queue;

    internal DescriptorChain(DeviceVirtqueue queue, int place, ushort head, GuestBuffers readable, GuestBuffers writable)
    {
        _queue = queue;
        Place = place;
        Head = head;
        Readable = readable;
        Writable = writable;
    }

    /// <summary>Index of the chain's first descriptor: the chain's name in the ring.</summary>
    public ushort Head { get; }

    /// <summary>Which chain of those taken last this is: a driver may offer the same head several times, with other buffers each time.</summary>
    internal int Place { get; }

    /// <summary>The buffers that the device reads.</summary>
    public GuestBuffers Readable { get; }

    /// <summary>The buffers that the device writes.</summary>
    public GuestBuffers Writable { get; }

    /// <summary>
    /// Takes the chain out of the worker's turn: it can be kept, passed to another thread and completed later. It holds the guest's memory
    /// until it is completed. Call it before the next <see cref="DeviceVirtqueue.TryPop"/>. Use it instead of <see cref="DeviceVirtqueue.Complete(in DescriptorChain, uint)"/>, not beside it.
    /// </summary>
    /// <remarks>
    /// A driver can make its chains very long, and this cannot fail, so the queue sees to the limit: while the detached chains of it have together more than 65536 pieces and
    /// twice <see cref="DeviceVirtqueue.Size"/>, nothing more is taken from the ring. It goes on when some are completed, without anything to be done for it.
    /// </remarks>
    /// <exception cref="InvalidOperationException">The queue has taken further requests meanwhile.</exception>
    public DetachedChain Detach() => _queue.Detach(this);
}
