namespace Vhost.Protocol;

/// <summary>What the other side of a virtqueue did wrong. A fault is latched: the queue stays empty until it is reset.</summary>
public enum VirtqueueFault : byte
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>The index runs ahead of what the ring can hold, or goes back.</summary>
    IndexRunaway,

    /// <summary>The available ring names a descriptor outside the table.</summary>
    HeadOutOfRange,

    /// <summary>A descriptor's next field points outside the table.</summary>
    NextOutOfRange,

    /// <summary>A chain has more descriptors than the queue, or loops.</summary>
    ChainTooLong,

    /// <summary>An indirect descriptor although VIRTIO_F_INDIRECT_DESC is not negotiated.</summary>
    IndirectNotNegotiated,

    /// <summary>An indirect descriptor inside an indirect table.</summary>
    NestedIndirect,

    /// <summary>An indirect table of a wrong size, outside memory, or with a next flag beside it.</summary>
    BadIndirectTable,

    /// <summary>A device-writable descriptor stands before a device-readable one.</summary>
    WritableBeforeReadable,

    /// <summary>A buffer does not lie in shared memory.</summary>
    BufferOutsideMemory,

    /// <summary>The buffers of a chain sum up to more than 32 bits.</summary>
    ChainLengthOverflow,

    /// <summary>A completion names a request that is not in flight.</summary>
    UnknownCompletion,

    /// <summary>A completion claims more bytes than the buffers hold.</summary>
    CompletionTooLong,

    /// <summary>The ring does not lie in shared memory, or no longer does.</summary>
    RingOutsideMemory,

    /// <summary>A packed ring: a buffer id was made available while it is in flight.</summary>
    BufferIdInFlight,

    /// <summary>The device itself failed while it worked on the queue.</summary>
    DeviceFailed,
}
