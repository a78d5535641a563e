using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>Names of the feature bits that network peers agree on.</summary>
internal static class VirtioBits
{
    private static readonly Dictionary<int, string> _names = new()
    {
        [0] = "CSUM",
        [1] = "GUEST_CSUM",
        [5] = "MAC",
        [15] = "MRG_RXBUF",
        [16] = "STATUS",
        [17] = "CTRL_VQ",
        [18] = "CTRL_RX",
        [22] = "MQ",
        [28] = "INDIRECT_DESC",
        [29] = "EVENT_IDX",
        [30] = "PROTOCOL_FEATURES",
        [32] = "VERSION_1",
        [34] = "RING_PACKED",
        [35] = "IN_ORDER",
    };

    private static readonly string[] _ofRings = ["MRG_RXBUF", "INDIRECT_DESC", "EVENT_IDX", "VERSION_1", "RING_PACKED", "IN_ORDER"];

    /// <summary>Of some features those that decide how much work a ring is.</summary>
    internal static string OfRings(IEnumerable<string> names) => string.Join(' ', _ofRings.Intersect(names, StringComparer.Ordinal));

    /// <summary>Names of the bits of a set.</summary>
    internal static IEnumerable<string> Names(ulong bits) => Enumerable.Range(0, 64).Where(bit => (bits >> bit & 1) != 0).Select(Name);

    private static string Name(int bit) => _names.GetValueOrDefault(bit) ?? bit.ToString(CultureInfo.InvariantCulture);
}
