namespace Vhost.Conformance;

/// <summary>All chapters of the suite for front-ends, in the order in which they run.</summary>
internal static class FrontendChapters
{
    public static IReadOnlyList<FrontendCase> All { get; } =
    [
        .. ConductChapter.Cases,
        .. OffersChapter.Cases,
        .. RefusalsChapter.Cases,
        .. RepliesChapter.Cases,
        .. AreasChapter.Cases,
        .. ChannelChapter.Cases,
        .. LossChapter.Cases,
        .. CompletionsChapter.Cases,
    ];
}
