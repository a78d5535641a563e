namespace Vhost.Frontend;

/// <summary>Numbers of the wire and of the specification that bound what a session asks for.</summary>
internal static class VringLimits
{
    /// <summary>A ring's number has eight bits in the descriptor messages.</summary>
    public const int MaxQueues = 256;

    /// <summary>Largest ring, split or packed.</summary>
    public const int MaxSize = 32768;

    /// <summary>Regions (and descriptors) one SET_MEM_TABLE may carry.</summary>
    public const int MaxTableRegions = 8;

    /// <summary>Most memory slots any known back-end serves, and most regions a <see cref="Protocol.GuestMemory"/> holds.</summary>
    public const int MaxMemorySlots = 509;

    /// <summary>The configuration space of a device ends here (vhost-user specification).</summary>
    public const int ConfigSpaceSize = 256;
}
