using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What a back-end must be or offer for a case to concern it. What is named here is acknowledged by the case's own negotiation.</summary>
internal sealed record CaseNeeds
{
    /// <summary>Every back-end is concerned.</summary>
    public static CaseNeeds Nothing { get; } = new();

    /// <summary>A device that can be made to do something.</summary>
    public static CaseNeeds Working { get; } = new() { Work = true };

    /// <summary>The same with packed rings.</summary>
    public static CaseNeeds Packed { get; } = new() { Work = true, Features = VirtioFeatures.RingPacked };

    /// <summary>Feature bits.</summary>
    public VirtioFeatures Features { get; init; }

    /// <summary>Protocol feature bits.</summary>
    public VhostUserProtocolFeatures Protocol { get; init; }

    /// <summary>Feature bits of which none may be offered.</summary>
    public VirtioFeatures NotFeatures { get; init; }

    /// <summary>The kind of device; empty: any.</summary>
    public string Device { get; init; } = "";

    /// <summary>The fewest queues.</summary>
    public int Queues { get; init; }

    /// <summary>Whether the device must be one that the suite can have something done by.</summary>
    public bool Work { get; init; }

    /// <summary>A part of this must be missing from what the back-end offers; null: nothing need be.</summary>
    public CaseNeeds? AnyMissing { get; init; }

    /// <summary>Why the case does not concern a back-end; null: it does.</summary>
    public string? Missing(BackendProfile peer)
    {
        if (Device.Length > 0 && peer.Device.Name != Device)
            return $"for a {Device} device only";
        if (Work && !peer.Device.CanWork)
            return "nothing is known of what this device does (--device)";
        if (!peer.Offers(Features))
            return $"it does not offer {FeatureNames.Describe(Features & ~peer.Features)}";
        if (!peer.Offers(Protocol))
            return $"it does not offer {FeatureNames.Describe(Protocol & ~peer.Protocol)}";
        if ((peer.Features & NotFeatures) != 0)
            return $"it offers {FeatureNames.Describe(peer.Features & NotFeatures)}";
        if (AnyMissing is { } all && all.Missing(peer) is null)
            return "it offers all that this belongs to";
        return Queues > Math.Max(peer.Queues, peer.Device.Rings) ? $"it has fewer than {Queues} queues" : null;
    }

    /// <summary>The same for people and lists: what is needed, each in a few words.</summary>
    public IReadOnlyList<string> InWords()
    {
        List<string> words = [];
        if (Device.Length > 0)
            words.Add($"a {Device} device");
        if (Work)
            words.Add("a device of which the suite knows what it does");
        words.AddRange(Names((ulong)Features, DeviceFeatureNames.Of(Device)));
        words.AddRange(Names((ulong)Protocol, FeatureNames.OfProtocolBit));
        if (Queues > 0)
            words.Add(Queues == 1 ? "1 queue" : $"{Queues} queues");
        words.AddRange(Names((ulong)NotFeatures, DeviceFeatureNames.Of(Device)).Select(static name => $"not {name}"));
        if (AnyMissing is { } all)
            words.Add($"not all of: {string.Join(", ", all.InWords())}");
        return words;
    }

    private static IEnumerable<string> Names(ulong bits, Func<int, string> nameOfBit) => Enumerable.Range(0, 64).Where(bit => (bits >> bit & 1) != 0).Select(nameOfBit);
}
