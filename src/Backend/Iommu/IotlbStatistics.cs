namespace Vhost.Backend;

/// <summary>What happened with the translations of an IOMMU, as it was when <see cref="VhostUserBackend.GetIotlbStatistics"/> was called; all 0 where no front-end has acknowledged ACCESS_PLATFORM.</summary>
public sealed record IotlbStatistics
{
    /// <summary>Translations that were asked for, each time that they were.</summary>
    public required long Misses { get; init; }

    /// <summary>Translations that front-ends have told.</summary>
    public required long Updates { get; init; }

    /// <summary>Ranges of which front-ends have withdrawn the translations.</summary>
    public required long Invalidations { get; init; }

    /// <summary>Translations that are known at present.</summary>
    public required int Entries { get; init; }
}
