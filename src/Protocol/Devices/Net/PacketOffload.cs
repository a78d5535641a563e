using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// Work on a packet that was left to somebody else: a checksum to complete, segments to cut. The fields of <see cref="VirtioNetHeader"/> without the count of
/// buffers, which concerns the queue alone. What a peer sent was checked against the packet's length and the negotiated features before it gets here.
/// </summary>
/// <param name="Flags">Whether the checksum is to be completed, or was found right.</param>
/// <param name="GsoType">What the packet is to be cut into; <see cref="VirtioNetGsoType.None"/>: nothing.</param>
/// <param name="HeaderLength">Bytes of all protocol headers: a hint, never beyond the packet.</param>
/// <param name="GsoSize">Payload bytes of each segment.</param>
/// <param name="ChecksumStart">First byte to sum, from the start of the packet.</param>
/// <param name="ChecksumOffset">Where the sum goes, from <paramref name="ChecksumStart"/>.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct PacketOffload(
    VirtioNetHeaderFlags Flags, VirtioNetGsoType GsoType, ushort HeaderLength, ushort GsoSize, ushort ChecksumStart, ushort ChecksumOffset)
{
    /// <summary>Nothing is left to do.</summary>
    public bool IsNone => Flags == VirtioNetHeaderFlags.None && GsoType == VirtioNetGsoType.None;

    /// <summary>The checksum is to be completed: the sum from <see cref="ChecksumStart"/> to the end is added to what stands at <see cref="ChecksumOffset"/> from there.</summary>
    public bool NeedsChecksum => (Flags & VirtioNetHeaderFlags.NeedsChecksum) != 0;

    /// <summary>The checksum was checked and is right.</summary>
    public bool IsDataValid => (Flags & VirtioNetHeaderFlags.DataValid) != 0;

    /// <summary>The kind of segments, without the ECN flag.</summary>
    public VirtioNetGsoType Segmentation => GsoType & ~VirtioNetGsoType.Ecn;

    /// <summary>The packet has explicit congestion notification, which segmentation must respect.</summary>
    public bool HasEcn => (GsoType & VirtioNetGsoType.Ecn) != 0;

    /// <summary>The fields but the last as the first eight bytes of a header, little-endian.</summary>
    internal ulong Word => (byte)Flags | ((ulong)(byte)GsoType << 8) | ((ulong)HeaderLength << 16) | ((ulong)GsoSize << 32) | ((ulong)ChecksumStart << 48);

    /// <summary>The fields out of a header's first eight bytes and its csum_offset.</summary>
    internal static PacketOffload FromWords(ulong word, ushort checksumOffset) => new(
        (VirtioNetHeaderFlags)(byte)word, (VirtioNetGsoType)(byte)(word >> 8), (ushort)(word >> 16), (ushort)(word >> 32), (ushort)(word >> 48), checksumOffset);

    /// <summary>A checksum to complete.</summary>
    /// <param name="start">First byte to sum.</param>
    /// <param name="offset">Where the sum goes, from there.</param>
    public static PacketOffload ForChecksum(int start, int offset) =>
        new(VirtioNetHeaderFlags.NeedsChecksum, VirtioNetGsoType.None, 0, 0, checked((ushort)start), checked((ushort)offset));

    /// <summary>Segments to cut, and the checksum of each to complete.</summary>
    /// <param name="type">The kind, with or without ECN.</param>
    /// <param name="segmentSize">Payload bytes of each.</param>
    /// <param name="headerLength">Bytes of all protocol headers.</param>
    /// <param name="checksumStart">First byte to sum.</param>
    /// <param name="checksumOffset">Where the sum goes, from there.</param>
    public static PacketOffload ForSegmentation(VirtioNetGsoType type, int segmentSize, int headerLength, int checksumStart, int checksumOffset) => new(
        VirtioNetHeaderFlags.NeedsChecksum,
        type,
        checked((ushort)headerLength),
        checked((ushort)segmentSize),
        checked((ushort)checksumStart),
        checked((ushort)checksumOffset));
}
