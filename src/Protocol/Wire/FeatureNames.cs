using System.Globalization;
using System.Text;

namespace Vhost.Protocol;

/// <summary>Feature words in words: the specification's names without their prefixes, unknown bits by number.</summary>
public static class FeatureNames
{
    private static readonly string?[] _protocolNames = BuildTable(
        (0, "MQ"),
        (1, "LOG_SHMFD"),
        (2, "RARP"),
        (3, "REPLY_ACK"),
        (4, "NET_MTU"),
        (5, "BACKEND_REQ"),
        (6, "CROSS_ENDIAN"),
        (7, "CRYPTO_SESSION"),
        (8, "PAGEFAULT"),
        (9, "CONFIG"),
        (10, "BACKEND_SEND_FD"),
        (11, "HOST_NOTIFIER"),
        (12, "INFLIGHT_SHMFD"),
        (13, "RESET_DEVICE"),
        (14, "INBAND_NOTIFICATIONS"),
        (15, "CONFIGURE_MEM_SLOTS"),
        (16, "STATUS"),
        (17, "XEN_MMAP"),
        (18, "SHARED_OBJECT"),
        (19, "DEVICE_STATE"),
        (20, "GET_VRING_BASE_INFLIGHT"),
        (21, "GPA_ADDRESSES"),
        (22, "SHMEM"),
        (23, "GET_VRING_BASE_SKIP_DRAIN"));

    private static readonly string?[] _virtioNames = BuildTable(
        (24, "NOTIFY_ON_EMPTY"),
        (26, "LOG_ALL"),
        (27, "ANY_LAYOUT"),
        (28, "INDIRECT_DESC"),
        (29, "EVENT_IDX"),
        (30, "PROTOCOL_FEATURES"),
        (32, "VERSION_1"),
        (33, "ACCESS_PLATFORM"),
        (34, "RING_PACKED"),
        (35, "IN_ORDER"),
        (36, "ORDER_PLATFORM"),
        (37, "SR_IOV"),
        (38, "NOTIFICATION_DATA"),
        (39, "NOTIF_CONFIG_DATA"),
        (40, "RING_RESET"),
        (41, "ADMIN_VQ"),
        (43, "SUSPEND"));

    /// <summary>Names the bits of a protocol feature word, for example <c>MQ REPLY_ACK (0x9)</c>; <c>none (0x0)</c> for an empty word.</summary>
    public static string Describe(VhostUserProtocolFeatures features) => Describe((ulong)features, _protocolNames);

    /// <summary>Names the bits of a feature word, for example <c>EVENT_IDX VERSION_1 (0x120000000)</c>; bits of the device type by number.</summary>
    public static string Describe(VirtioFeatures features) => Describe((ulong)features, _virtioNames);

    /// <summary>Names one protocol feature bit, 0 to 63; a bit without a name becomes <c>bit 40</c>.</summary>
    public static string OfProtocolBit(int bit) => Name(bit, _protocolNames);

    /// <summary>Names one bit of the feature word, 0 to 63; a bit without a name becomes <c>bit 5</c>.</summary>
    public static string OfVirtioBit(int bit) => Name(bit, _virtioNames);

    private static string Describe(ulong word, string?[] names)
    {
        if (word == 0)
            return "none (0x0)";
        StringBuilder text = new();
        for (int bit = 0; bit < 64; bit++)
        {
            if ((word >> bit & 1) != 0)
                text.Append(Name(bit, names)).Append(' ');
        }

        return text.Append(CultureInfo.InvariantCulture, $"(0x{word:x})").ToString();
    }

    private static string Name(int bit, string?[] names) =>
        (uint)bit < (uint)names.Length && names[bit] is { } name ? name : string.Create(CultureInfo.InvariantCulture, $"bit {bit}");

    private static string?[] BuildTable(params ReadOnlySpan<(int Bit, string Name)> names)
    {
        string?[] table = new string?[64];
        foreach ((int bit, string name) in names)
            table[bit] = name;
        return table;
    }
}
