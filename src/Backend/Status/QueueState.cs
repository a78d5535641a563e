namespace Vhost.Backend;

/// <summary>What a queue of a back-end does at present (vhost-user specification, "Ring states").</summary>
public enum QueueState
{
    /// <summary>Not started, or stopped: left alone.</summary>
    Stopped,

    /// <summary>Started, but the memory of its ring is not mapped, or not translated by the IOMMU: it runs when that comes.</summary>
    WaitsForMemory,

    /// <summary>Started and disabled: left alone until it is enabled.</summary>
    Disabled,

    /// <summary>Served.</summary>
    Running,

    /// <summary>Out of service until it is stopped and started again: the driver broke a rule, or the device failed.</summary>
    Broken,
}
