using System.Buffers.Binary;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Cuts a long TCP packet into segments for a receiver that does not do that by itself (virtio 1.2, 5.1.6.2 "Packet Transmission", gso_type), a burst at a time. Nothing in the
/// packet is trusted; one that does not hold what its header promises is no TCP packet, and cannot be cut.
/// </summary>
internal struct TcpSegmenter
{
    /// <summary>
    /// More of one packet are not made: the longest packet has no more with segments of 48 bytes, which is what the smallest segment size that Linux lets a program ask for (TCP_MAXSEG, 88) leaves beside
    /// 40 bytes of options. They are made a burst at a time, so that their number holds nobody up.
    /// </summary>
    internal const int MostSegments = (ushort.MaxValue / 48) + 1;

    private const int EthernetLength = 14;
    private const int TagLength = 4;
    private const int MostTags = 2;
    private const int LongestHeaders = 256;
    private const int TcpLength = 20;
    private const int IpV4Length = 20;
    private const int IpV6Length = 40;
    private const int ChecksumOffset = 16;
    private const byte Tcp = 6;
    private const byte FinAndPush = 0x09;
    private const byte CongestionReduced = 0x80;

    private readonly PacketBuffer _packet;
    private readonly int _ip;
    private readonly int _tcp;
    private readonly int _headers;
    private readonly int _size;
    private readonly int _payload;
    private PacketReader _reader;
    private int _done;
    private ushort _number;

    private TcpSegmenter(PacketBuffer packet, int ip, int tcp, int headers, int size)
    {
        _packet = packet;
        _ip = ip;
        _tcp = tcp;
        _headers = headers;
        _size = size;
        _payload = packet.PacketLength - headers;
        _reader = new PacketReader(packet);
        _reader.Skip((uint)headers);
    }

    /// <summary>All segments were made.</summary>
    internal readonly bool IsDone => _done == _payload;

    /// <summary>The packet that is cut; null before there was one.</summary>
    internal readonly PacketBuffer? Packet => _packet;

    /// <summary>Segments that a packet is cut into, at most; of one that cannot be cut too.</summary>
    internal static int MostOf(PacketBuffer packet)
    {
        int size = packet.Offload.GsoSize;
        return size == 0 ? 1 : Math.Min((packet.PacketLength + size - 1) / size, MostSegments);
    }

    /// <summary>Looks at a packet. False when it cannot be cut.</summary>
    /// <param name="packet">It; must not change until all segments were made.</param>
    /// <param name="segmenter">Makes the segments.</param>
    internal static bool TryBegin(PacketBuffer packet, out TcpSegmenter segmenter)
    {
        segmenter = default;
        PacketOffload offload = packet.Offload;
        ReadOnlySpan<byte> start = packet.Data;
        if (!TryFindIp(start, out int ip, out ushort type))
            return false;
        int tcp = offload.ChecksumStart;
        bool isSound = offload.NeedsChecksum && offload.ChecksumOffset == ChecksumOffset && offload.Segmentation switch
        {
            VirtioNetGsoType.TcpV4 => type == 0x0800 && IsIpV4(start, ip, tcp),
            VirtioNetGsoType.TcpV6 => type == 0x86DD && start.Length >= ip + IpV6Length && start[ip] >> 4 == 6 && tcp >= ip + IpV6Length,
            _ => false,
        };
        if (!isSound || start.Length < tcp + TcpLength)
            return false;
        int headers = tcp + (4 * (start[tcp + 12] >> 4));
        int payload = packet.PacketLength - headers;
        if (headers < tcp + TcpLength || headers > Math.Min(start.Length, LongestHeaders) || payload <= 0)
            return false;
        if (offload.GsoSize == 0 || (payload + offload.GsoSize - 1) / offload.GsoSize > MostSegments)
            return false;
        segmenter = new TcpSegmenter(packet, ip, tcp, headers, offload.GsoSize);
        return true;
    }

    /// <summary>Makes the next segment, whose checksum is left to do.</summary>
    /// <param name="segment">An empty buffer of a pool; it takes further ones where it is short.</param>
    /// <returns>False when the pool is empty: the segment is lost.</returns>
    internal bool TryMakeNext(PacketBuffer segment)
    {
        int length = Math.Min(_size, _payload - _done);
        segment.Reset();
        Span<byte> headers = segment.Append(_headers);
        _packet.Data[.._headers].CopyTo(headers);
        Adjust(headers, length);
        segment.Offload = PacketOffload.ForChecksum(_tcp, ChecksumOffset);
        _done += length;
        _number++;
        PacketBuffer? part = segment;
        while (true)
        {
            int count = Math.Min(length, part.Tailroom);
            _reader.CopyTo(part.AppendAddress(count), (uint)count);
            length -= count;
            if (length == 0)
                return true;
            if (!part.TryExtend(out part))
            {
                _reader.Skip((uint)length);
                return false;
            }
        }
    }

    private static bool TryFindIp(ReadOnlySpan<byte> start, out int ip, out ushort type)
    {
        ip = EthernetLength;
        type = 0;
        for (int tags = 0; start.Length >= ip; tags++, ip += TagLength)
        {
            type = BinaryPrimitives.ReadUInt16BigEndian(start[(ip - sizeof(ushort))..]);
            if (type is not (0x8100 or 0x88A8))
                return true;
            if (tags == MostTags)
                return false;
        }

        return false;
    }

    private static bool IsIpV4(ReadOnlySpan<byte> start, int ip, int tcp)
    {
        if (start.Length < ip + IpV4Length)
            return false;
        int length = 4 * (start[ip] & 0xF);
        return start[ip] >> 4 == 4 && length >= IpV4Length && tcp == ip + length && start[ip + 9] == Tcp;
    }

    private readonly void Adjust(Span<byte> headers, int length)
    {
        Span<byte> tcp = headers[_tcp..];
        uint sequence = BinaryPrimitives.ReadUInt32BigEndian(tcp[4..]);
        BinaryPrimitives.WriteUInt32BigEndian(tcp[4..], unchecked(sequence + (uint)_done));
        if (_done + length < _payload)
            tcp[13] &= unchecked((byte)~FinAndPush);
        if (_done > 0)
            tcp[13] &= unchecked((byte)~CongestionReduced);

        // What stands there is the sum over the pseudo header of the whole packet.
        int before = _packet.PacketLength - _tcp;
        int after = _headers - _tcp + length;
        uint sum = BinaryPrimitives.ReadUInt16BigEndian(tcp[ChecksumOffset..]) + (uint)(ushort)~Folded((uint)before) + (uint)after;
        BinaryPrimitives.WriteUInt16BigEndian(tcp[ChecksumOffset..], Folded(sum));
        AdjustIp(headers[_ip.._tcp], after);
    }

    private readonly void AdjustIp(Span<byte> ip, int tcpLength)
    {
        if (ip[0] >> 4 == 6)
        {
            BinaryPrimitives.WriteUInt16BigEndian(ip[4..], (ushort)(ip.Length - IpV6Length + tcpLength));
            return;
        }

        BinaryPrimitives.WriteUInt16BigEndian(ip[2..], (ushort)(ip.Length + tcpLength));
        ushort identification = BinaryPrimitives.ReadUInt16BigEndian(ip[4..]);
        BinaryPrimitives.WriteUInt16BigEndian(ip[4..], unchecked((ushort)(identification + _number)));
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], 0);
        InternetChecksum sum = new();
        sum.Add(ip);
        BinaryPrimitives.WriteUInt16BigEndian(ip[10..], sum.Complete());
    }

    private static ushort Folded(uint sum)
    {
        sum = (sum & 0xFFFF) + (sum >> 16);
        return (ushort)(sum + (sum >> 16));
    }
}
