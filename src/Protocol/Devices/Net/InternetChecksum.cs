using System.Buffers.Binary;

namespace Vhost.Protocol;

/// <summary>The checksum of IP, TCP and UDP (RFC 1071), summed up piece by piece.</summary>
internal struct InternetChecksum
{
    private ulong _sum;
    private bool _odd;

    /// <summary>Adds the next bytes.</summary>
    internal void Add(ReadOnlySpan<byte> bytes)
    {
        if (_odd && !bytes.IsEmpty)
        {
            _sum += bytes[0];
            bytes = bytes[1..];
            _odd = false;
        }

        for (; bytes.Length >= 4; bytes = bytes[4..])
            _sum += BinaryPrimitives.ReadUInt32BigEndian(bytes);
        if (bytes.Length >= 2)
        {
            _sum += BinaryPrimitives.ReadUInt16BigEndian(bytes);
            bytes = bytes[2..];
        }

        if (!bytes.IsEmpty)
        {
            _sum += (uint)bytes[0] << 8;
            _odd = true;
        }
    }

    /// <summary>The ones' complement of the sum, as it goes into a header in network order. 0 is sent as 0xFFFF, which means the same and not "no checksum".</summary>
    internal readonly ushort Complete()
    {
        ulong sum = _sum;
        while (sum >> 16 != 0)
            sum = (sum & 0xFFFF) + (sum >> 16);
        ushort checksum = (ushort)~sum;
        return checksum == 0 ? (ushort)0xFFFF : checksum;
    }
}
