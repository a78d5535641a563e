namespace Vhost.Conformance;

/// <summary>All chapters of the suite for back-ends, in the order in which they run: what later ones stand on comes first.</summary>
internal static class BackendChapters
{
    public static IReadOnlyList<BackendCase> All { get; } =
    [
        .. NegotiationChapter.Cases,
        .. FramingChapter.Cases,
        .. DescriptorsChapter.Cases,
        .. GatesChapter.Cases,
        .. AcknowledgementsChapter.Cases,
        .. MemoryChapter.Cases,
        .. RingStatesChapter.Cases,
        .. SplitRingsChapter.Cases,
        .. PackedRingsChapter.Cases,
        .. NotificationsChapter.Cases,
        .. ConfigurationChapter.Cases,
        .. StatusChapter.Cases,
        .. BackendChannelChapter.Cases,
        .. DirtyLogChapter.Cases,
        .. InflightChapter.Cases,
        .. IotlbChapter.Cases,
        .. DeviceStateChapter.Cases,
        .. PostcopyChapter.Cases,
        .. BlockChapter.Cases,
        .. NetworkChapter.Cases,
        .. EntropyChapter.Cases,
        .. ConsoleChapter.Cases,
        .. HostileControlChapter.Cases,
        .. HostileRingsChapter.Cases,
    ];
}
