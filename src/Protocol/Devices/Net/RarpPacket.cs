using System.Buffers.Binary;

namespace Vhost.Protocol;

/// <summary>A packet that tells a network's switches where an address is now: a reverse ARP request (RFC 903) from it, to everybody.</summary>
public static class RarpPacket
{
    /// <summary>Bytes, padded to the shortest packet of Ethernet.</summary>
    public const int Size = 64;

    private const ushort EtherType = 0x8035;
    private const ushort Ethernet = 1;
    private const ushort IpV4 = 0x0800;
    private const ushort Request = 3;

    /// <summary>Writes the packet.</summary>
    /// <param name="destination">At least <see cref="Size"/> bytes.</param>
    /// <param name="address">Whose address.</param>
    /// <exception cref="ArgumentException">The destination is smaller.</exception>
    public static void Write(Span<byte> destination, MacAddress address)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        MacAddress.Broadcast.Write(destination);
        address.Write(destination[6..]);
        BinaryPrimitives.WriteUInt16BigEndian(destination[12..], EtherType);
        BinaryPrimitives.WriteUInt16BigEndian(destination[14..], Ethernet);
        BinaryPrimitives.WriteUInt16BigEndian(destination[16..], IpV4);
        destination[18] = MacAddress.Size;
        destination[19] = sizeof(uint);
        BinaryPrimitives.WriteUInt16BigEndian(destination[20..], Request);
        address.Write(destination[22..]);
        address.Write(destination[32..]);
    }
}
