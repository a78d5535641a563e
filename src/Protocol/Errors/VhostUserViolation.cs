namespace Vhost.Protocol;

/// <summary>How a peer broke the rules of the protocol.</summary>
public enum VhostUserViolation
{
    /// <summary>It did not.</summary>
    None,

    /// <summary>The header's version is not 1.</summary>
    BadVersion,

    /// <summary>A request carries the REPLY flag.</summary>
    ReplyFlagInRequest,

    /// <summary>Bits 4 to 31 of the header's flags are not zero.</summary>
    ReservedFlags,

    /// <summary>The request code is not assigned.</summary>
    UnknownRequest,

    /// <summary>The payload is shorter than the message needs.</summary>
    PayloadTooShort,

    /// <summary>The payload is longer than the message allows.</summary>
    PayloadTooLong,

    /// <summary>The payload's length lies in the range of the message but fits no form of it.</summary>
    PayloadSizeMismatch,

    /// <summary>Too many or too few descriptors came with the message.</summary>
    WrongDescriptorCount,

    /// <summary>The kernel dropped descriptors: more came than were expected, or a limit was reached.</summary>
    DescriptorsTruncated,

    /// <summary>The stream ended in the middle of a message.</summary>
    TruncatedMessage,

    /// <summary>A reply that nobody waits for, or that answers another request.</summary>
    UnexpectedReply,

    /// <summary>The message needs a feature that was not negotiated.</summary>
    FeatureNotNegotiated,

    /// <summary>The queue does not exist.</summary>
    BadQueueIndex,

    /// <summary>The queue size is not allowed.</summary>
    BadQueueSize,

    /// <summary>The queue is started; the setting may change only while it is stopped.</summary>
    QueueStarted,

    /// <summary>The queue is not set up far enough for the message.</summary>
    QueueNotReady,

    /// <summary>Feature bits that were not offered, or that cannot be had together.</summary>
    BadFeatureBits,

    /// <summary>A memory region is empty, wraps, or lies outside its descriptor.</summary>
    MemoryRegionInvalid,

    /// <summary>A memory region overlaps another.</summary>
    MemoryRegionOverlaps,

    /// <summary>More memory regions than there are slots.</summary>
    TooManyMemoryRegions,

    /// <summary>The memory region to remove does not exist.</summary>
    UnknownMemoryRegion,

    /// <summary>A descriptor is not of the kind the message needs.</summary>
    BadDescriptor,

    /// <summary>A ring does not lie in shared memory.</summary>
    RingOutsideMemory,

    /// <summary>A ring's address is not aligned.</summary>
    RingMisaligned,

    /// <summary>A range of configuration space does not exist or cannot be written.</summary>
    BadConfigRange,

    /// <summary>A field has a value that is not allowed.</summary>
    BadValue,

    /// <summary>The message is not allowed in this state of the session.</summary>
    WrongState,

    /// <summary>The peer does not read what it is sent.</summary>
    PeerNotReading,
}
