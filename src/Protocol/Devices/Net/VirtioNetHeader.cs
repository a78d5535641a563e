using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>Flags of a packet's header (virtio "Network Device", "Device Operation").</summary>
[Flags]
public enum VirtioNetHeaderFlags : byte
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>VIRTIO_NET_HDR_F_NEEDS_CSUM: the checksum is to be completed, as csum_start and csum_offset say.</summary>
    NeedsChecksum = 1,

    /// <summary>VIRTIO_NET_HDR_F_DATA_VALID: the checksum was checked and is right. Only towards the driver.</summary>
    DataValid = 2,

    /// <summary>VIRTIO_NET_HDR_F_RSC_INFO: csum_start and csum_offset count coalesced segments and duplicated acknowledgements.</summary>
    CoalescedInfo = 4,
}

/// <summary>What a packet longer than the MTU is to be cut into (virtio "gso_type"), with <see cref="Ecn"/> as a flag beside it.</summary>
[Flags]
public enum VirtioNetGsoType : byte
{
    /// <summary>VIRTIO_NET_HDR_GSO_NONE: nothing.</summary>
    None = 0,

    /// <summary>VIRTIO_NET_HDR_GSO_TCPV4: TCP segments over IPv4.</summary>
    TcpV4 = 1,

    /// <summary>VIRTIO_NET_HDR_GSO_UDP: IP fragments of UDP (UFO).</summary>
    Udp = 3,

    /// <summary>VIRTIO_NET_HDR_GSO_TCPV6: TCP segments over IPv6.</summary>
    TcpV6 = 4,

    /// <summary>VIRTIO_NET_HDR_GSO_UDP_L4: UDP datagrams (USO).</summary>
    UdpL4 = 5,

    /// <summary>VIRTIO_NET_HDR_GSO_ECN: the packet has explicit congestion notification; beside a TCP type.</summary>
    Ecn = 0x80,
}

/// <summary>
/// The header before every packet on a queue (virtio "struct virtio_net_hdr"); little-endian. Twelve bytes with VERSION_1 or MRG_RXBUF, else the first ten.
/// </summary>
/// <param name="Flags">At 0.</param>
/// <param name="GsoType">At 1.</param>
/// <param name="HeaderLength">Bytes of all protocol headers: a hint; at 2.</param>
/// <param name="GsoSize">Payload bytes of a segment; at 4.</param>
/// <param name="ChecksumStart">First byte to sum; at 6.</param>
/// <param name="ChecksumOffset">Where the sum goes, from there; at 8.</param>
/// <param name="BufferCount">Buffers that the packet lies in (num_buffers); at 10.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct VirtioNetHeader(
    VirtioNetHeaderFlags Flags, VirtioNetGsoType GsoType, ushort HeaderLength, ushort GsoSize, ushort ChecksumStart, ushort ChecksumOffset, ushort BufferCount)
{
    /// <summary>Bytes with VERSION_1 or MRG_RXBUF.</summary>
    public const int Size = 12;

    /// <summary>Bytes without both.</summary>
    public const int LegacySize = 10;

    /// <summary>The header's size under these features: <see cref="Size"/> or <see cref="LegacySize"/>.</summary>
    /// <param name="acknowledged">The acknowledged features.</param>
    public static int SizeFor(VirtioFeatures acknowledged) =>
        (acknowledged & (VirtioFeatures.Version1 | (VirtioFeatures)(ulong)VirtioNetFeatures.MergeableBuffers)) != 0 ? Size : LegacySize;

    /// <summary>Reads ten or twelve bytes; of ten, <see cref="BufferCount"/> is 0.</summary>
    /// <returns>False when there are fewer than ten.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out VirtioNetHeader value)
    {
        bool fits = source.Length >= LegacySize;
        value = fits
            ? new(
                (VirtioNetHeaderFlags)source[0],
                (VirtioNetGsoType)source[1],
                BinaryPrimitives.ReadUInt16LittleEndian(source[2..]),
                BinaryPrimitives.ReadUInt16LittleEndian(source[4..]),
                BinaryPrimitives.ReadUInt16LittleEndian(source[6..]),
                BinaryPrimitives.ReadUInt16LittleEndian(source[8..]),
                source.Length >= Size ? BinaryPrimitives.ReadUInt16LittleEndian(source[10..]) : (ushort)0)
            : default;
        return fits;
    }

    /// <summary>Writes twelve bytes, or the first ten where there is no room for twelve.</summary>
    /// <exception cref="ArgumentException">The destination is smaller than ten bytes.</exception>
    public void Write(Span<byte> destination)
    {
        if (destination.Length >= Size)
            BinaryPrimitives.WriteUInt16LittleEndian(destination[10..], BufferCount);
        destination = PayloadSizes.Exactly(destination, LegacySize);
        destination[0] = (byte)Flags;
        destination[1] = (byte)GsoType;
        BinaryPrimitives.WriteUInt16LittleEndian(destination[2..], HeaderLength);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[4..], GsoSize);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[6..], ChecksumStart);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[8..], ChecksumOffset);
    }
}
