using System.Buffers.Binary;

namespace Vhost.Protocol;

/// <summary>
/// Configuration space of a network device (virtio "Network Device", "Device configuration layout"); little-endian. A field means something only when
/// its feature, named in brackets, is negotiated.
/// </summary>
public readonly record struct VirtioNetConfig
{
    /// <summary>Bytes of the whole structure.</summary>
    public const int Size = 28;

    /// <summary>Bytes up to the hash types: what most peers know.</summary>
    public const int ClassicSize = 24;

    /// <summary>Offset of <see cref="Mac"/>, which a legacy driver may write.</summary>
    public const int MacOffset = 0;

    /// <summary>Offset of <see cref="Status"/>.</summary>
    public const int StatusOffset = 6;

    /// <summary>The value of <see cref="Speed"/> that means: not known.</summary>
    public const uint UnknownSpeed = uint.MaxValue;

    /// <summary>The value of <see cref="Duplex"/> that means: not known.</summary>
    public const byte UnknownDuplex = byte.MaxValue;

    /// <summary>The device's address (MAC); offset 0.</summary>
    public MacAddress Mac { get; init; }

    /// <summary>Link status (STATUS); offset 6.</summary>
    public VirtioNetStatus Status { get; init; }

    /// <summary>Most pairs of queues (MQ or RSS); offset 8.</summary>
    public ushort MaxQueuePairs { get; init; }

    /// <summary>Largest MTU for the driver to use (MTU); offset 10.</summary>
    public ushort Mtu { get; init; }

    /// <summary>Line speed in Mbit/s (SPEED_DUPLEX); offset 12.</summary>
    public uint Speed { get; init; }

    /// <summary>0 half, 1 full (SPEED_DUPLEX); offset 16.</summary>
    public byte Duplex { get; init; }

    /// <summary>Longest key in bytes (RSS or HASH_REPORT); offset 17.</summary>
    public byte RssMaxKeySize { get; init; }

    /// <summary>Most entries of the indirection table (RSS); offset 18.</summary>
    public ushort RssMaxIndirectionTableLength { get; init; }

    /// <summary>Hash types (RSS or HASH_REPORT); offset 20.</summary>
    public uint SupportedHashTypes { get; init; }

    /// <summary>Encapsulations (HASH_TUNNEL); offset 24.</summary>
    public uint SupportedTunnelTypes { get; init; }

    /// <summary>Reads any prefix of the structure; fields that are not, or not wholly, in it are 0.</summary>
    /// <param name="source">Configuration space from offset 0.</param>
    /// <param name="value">The structure.</param>
    /// <returns>False when not even the MAC address (6 bytes) is there.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out VirtioNetConfig value)
    {
        bool fits = MacAddress.TryRead(source, out MacAddress mac);
        value = fits
            ? new VirtioNetConfig
            {
                Mac = mac,
                Status = (VirtioNetStatus)U16(source, StatusOffset),
                MaxQueuePairs = U16(source, 8),
                Mtu = U16(source, 10),
                Speed = U32(source, 12),
                Duplex = source.Length > 16 ? source[16] : (byte)0,
                RssMaxKeySize = source.Length > 17 ? source[17] : (byte)0,
                RssMaxIndirectionTableLength = U16(source, 18),
                SupportedHashTypes = U32(source, 20),
                SupportedTunnelTypes = U32(source, 24),
            }
            : default;
        return fits;
    }

    /// <summary>Writes as much of the structure as the destination holds; bytes beyond <see cref="Size"/> are left alone.</summary>
    public void Write(Span<byte> destination)
    {
        Span<byte> all = stackalloc byte[Size];
        Mac.Write(all);
        BinaryPrimitives.WriteUInt16LittleEndian(all[StatusOffset..], (ushort)Status);
        BinaryPrimitives.WriteUInt16LittleEndian(all[8..], MaxQueuePairs);
        BinaryPrimitives.WriteUInt16LittleEndian(all[10..], Mtu);
        BinaryPrimitives.WriteUInt32LittleEndian(all[12..], Speed);
        all[16] = Duplex;
        all[17] = RssMaxKeySize;
        BinaryPrimitives.WriteUInt16LittleEndian(all[18..], RssMaxIndirectionTableLength);
        BinaryPrimitives.WriteUInt32LittleEndian(all[20..], SupportedHashTypes);
        BinaryPrimitives.WriteUInt32LittleEndian(all[24..], SupportedTunnelTypes);
        all[..Math.Min(Size, destination.Length)].CopyTo(destination);
    }

    private static ushort U16(ReadOnlySpan<byte> s, int offset) =>
        s.Length >= offset + 2 ? BinaryPrimitives.ReadUInt16LittleEndian(s[offset..]) : (ushort)0;

    private static uint U32(ReadOnlySpan<byte> s, int offset) =>
        s.Length >= offset + 4 ? BinaryPrimitives.ReadUInt32LittleEndian(s[offset..]) : 0;
}

/// <summary>The status word of a network device.</summary>
[Flags]
public enum VirtioNetStatus : ushort
{
    /// <summary>The link is down.</summary>
    None = 0,

    /// <summary>VIRTIO_NET_S_LINK_UP.</summary>
    LinkUp = 1,

    /// <summary>VIRTIO_NET_S_ANNOUNCE: the driver is asked to send gratuitous packets.</summary>
    Announce = 2,
}
