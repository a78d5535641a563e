namespace Vhost.Conformance;

/// <summary>All chapters of the suite for back-ends, in the order in which they run: what later ones stand on comes first.</summary>
internal static class BackendChapters
{
    public static IReadOnlyList<BackendCase> All { get; } =
    [
        .. NegotiationChapter.Cases,
        .. MemoryChapter.Cases,
        .. RingStatesChapter.Cases,
        .. ConfigurationChapter.Cases,
        .. StatusChapter.Cases,
        .. AcknowledgementsChapter.Cases,
        .. BackendChannelChapter.Cases,
        .. DirtyLogChapter.Cases,
        .. InflightChapter.Cases,
        .. IotlbChapter.Cases,
        .. DeviceStateChapter.Cases,
        .. PostcopyChapter.Cases,
        .. HostileControlChapter.Cases,
    ];
}
