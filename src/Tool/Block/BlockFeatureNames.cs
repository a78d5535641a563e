using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>Bits of a block device's feature word by the specification's names.</summary>
internal static class BlockFeatureNames
{
    private const int DeviceBits = 24;

    private static readonly string?[] _names =
    [
        "BARRIER", "SIZE_MAX", "SEG_MAX", null, "GEOMETRY", "RO", "BLK_SIZE", "SCSI", null, "FLUSH", "TOPOLOGY", "CONFIG_WCE", "MQ", "DISCARD",
        "WRITE_ZEROES", "LIFETIME", "SECURE_ERASE", "ZONED",
    ];

    internal static IReadOnlyList<string> List(VirtioFeatures features, bool isBlock)
    {
        List<string> names = new();
        for (int bit = 0; bit < 64; bit++)
        {
            if (((ulong)features >> bit & 1) != 0)
                names.Add(isBlock && bit < DeviceBits && bit < _names.Length && _names[bit] is { } name ? name : FeatureNames.OfVirtioBit(bit));
        }

        return names;
    }

    internal static IReadOnlyList<string> List(VhostUserProtocolFeatures features)
    {
        List<string> names = new();
        for (int bit = 0; bit < 64; bit++)
        {
            if (((ulong)features >> bit & 1) != 0)
                names.Add(FeatureNames.OfProtocolBit(bit));
        }

        return names;
    }
}
