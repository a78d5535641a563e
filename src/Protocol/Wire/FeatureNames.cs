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

    private static readonly string?[] _blockNames = BuildTable(
        (0, "BARRIER"),
        (1, "SIZE_MAX"),
        (2, "SEG_MAX"),
        (4, "GEOMETRY"),
        (5, "RO"),
        (6, "BLK_SIZE"),
        (7, "SCSI"),
        (9, "FLUSH"),
        (10, "TOPOLOGY"),
        (11, "CONFIG_WCE"),
        (12, "MQ"),
        (13, "DISCARD"),
        (14, "WRITE_ZEROES"),
        (15, "LIFETIME"),
        (16, "SECURE_ERASE"),
        (17, "ZONED"));

    private static readonly string?[] _consoleNames = BuildTable(
        (0, "SIZE"),
        (1, "MULTIPORT"),
        (2, "EMERG_WRITE"));

    private static readonly string?[] _netNames = BuildTable(
        (0, "CSUM"),
        (1, "GUEST_CSUM"),
        (2, "CTRL_GUEST_OFFLOADS"),
        (3, "MTU"),
        (5, "MAC"),
        (6, "GSO"),
        (7, "GUEST_TSO4"),
        (8, "GUEST_TSO6"),
        (9, "GUEST_ECN"),
        (10, "GUEST_UFO"),
        (11, "HOST_TSO4"),
        (12, "HOST_TSO6"),
        (13, "HOST_ECN"),
        (14, "HOST_UFO"),
        (15, "MRG_RXBUF"),
        (16, "STATUS"),
        (17, "CTRL_VQ"),
        (18, "CTRL_RX"),
        (19, "CTRL_VLAN"),
        (20, "CTRL_RX_EXTRA"),
        (21, "GUEST_ANNOUNCE"),
        (22, "MQ"),
        (23, "CTRL_MAC_ADDR"),
        (50, "DEVICE_STATS"),
        (51, "HASH_TUNNEL"),
        (52, "VQ_NOTF_COAL"),
        (53, "NOTF_COAL"),
        (54, "GUEST_USO4"),
        (55, "GUEST_USO6"),
        (56, "HOST_USO"),
        (57, "HASH_REPORT"),
        (59, "GUEST_HDRLEN"),
        (60, "RSS"),
        (61, "RSC_EXT"),
        (62, "STANDBY"),
        (63, "SPEED_DUPLEX"));

    /// <summary>Names the bits of a protocol feature word, for example <c>MQ REPLY_ACK (0x9)</c>; <c>none (0x0)</c> for an empty word.</summary>
    public static string Describe(VhostUserProtocolFeatures features) => Describe((ulong)features, OfProtocolBit);

    /// <summary>Names the bits of a feature word, for example <c>EVENT_IDX VERSION_1 (0x120000000)</c>; bits of the device type by number.</summary>
    public static string Describe(VirtioFeatures features) => Describe(features, OfVirtioBit);

    /// <summary>Names the bits of a feature word, those of the device type too.</summary>
    /// <param name="features">The word.</param>
    /// <param name="nameOfBit">Names one bit, 0 to 63, for example <see cref="OfBlockBit"/>.</param>
    public static string Describe(VirtioFeatures features, Func<int, string> nameOfBit)
    {
        ArgumentNullException.ThrowIfNull(nameOfBit);
        return Describe((ulong)features, nameOfBit);
    }

    /// <summary>Names one protocol feature bit, 0 to 63; a bit without a name becomes <c>bit 40</c>.</summary>
    public static string OfProtocolBit(int bit) => Name(bit, _protocolNames);

    /// <summary>Names one bit of the feature word, 0 to 63; a bit without a name becomes <c>bit 5</c>.</summary>
    public static string OfVirtioBit(int bit) => Name(bit, _virtioNames);

    /// <summary>Names one bit of a block device's feature word, 0 to 63, for example <c>BLK_SIZE</c>; a bit without a name becomes <c>bit 3</c>.</summary>
    public static string OfBlockBit(int bit) => Find(bit, _blockNames) ?? OfVirtioBit(bit);

    /// <summary>Names one bit of a network device's feature word, 0 to 63, for example <c>MRG_RXBUF</c>; a bit without a name becomes <c>bit 4</c>.</summary>
    public static string OfNetBit(int bit) => Find(bit, _netNames) ?? OfVirtioBit(bit);

    /// <summary>Names one bit of a console device's feature word, 0 to 63, for example <c>MULTIPORT</c>; a bit without a name becomes <c>bit 3</c>.</summary>
    public static string OfConsoleBit(int bit) => Find(bit, _consoleNames) ?? OfVirtioBit(bit);

    private static string Describe(ulong word, Func<int, string> nameOfBit)
    {
        if (word == 0)
            return "none (0x0)";
        StringBuilder text = new();
        for (int bit = 0; bit < 64; bit++)
        {
            if ((word >> bit & 1) != 0)
                text.Append(nameOfBit(bit)).Append(' ');
        }

        return text.Append(CultureInfo.InvariantCulture, $"(0x{word:x})").ToString();
    }

    private static string Name(int bit, string?[] names) => Find(bit, names) ?? string.Create(CultureInfo.InvariantCulture, $"bit {bit}");

    private static string? Find(int bit, string?[] names) => (uint)bit < (uint)names.Length ? names[bit] : null;

    private static string?[] BuildTable(params ReadOnlySpan<(int Bit, string Name)> names)
    {
        string?[] table = new string?[64];
        foreach ((int bit, string name) in names)
            table[bit] = name;
        return table;
    }
}
