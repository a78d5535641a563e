using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>Which sockets belong together, as the kernel says (sock_diag(7)).</summary>
internal static partial class Libc
{
    private const int NetlinkHeader = 16;
    private const int PeerRequest = NetlinkHeader + 24;
    private const int PeerReply = NetlinkHeader + 16;
    private const ushort SockDiagByFamily = 20;

    /// <summary>
    /// The number (<see cref="DescriptorInfo.FileNumber"/>) of the socket at the other end of a Unix socket; 0 when the kernel does not say: it was built without, the other end is closed, or the socket is of another
    /// network namespace.
    /// </summary>
    internal static ulong PeerNumber(SafeHandle unixSocket)
    {
        const int Netlink = 16;
        const int Raw = 3;
        const int Diagnosis = 4;
        ulong number = DescriptorInfo.FileNumber(unixSocket);
        if (number is 0 or > uint.MaxValue) return 0;
        using SafeFileHandle kernel = socket(Netlink, Raw | SOCK_NONBLOCK | SOCK_CLOEXEC, Diagnosis);
        if (kernel.IsInvalid) return 0;
        Span<byte> bytes = stackalloc byte[512];
        WritePeerRequest(bytes[..PeerRequest], (uint)number);
        if (Write(kernel, bytes[..PeerRequest]) != PeerRequest) return 0;
        int length = Read(kernel, bytes); // the kernel has answered within the write
        return length > 0 ? ReadPeer(bytes[..length], (uint)number) : 0;
    }

    /// <summary><c>struct nlmsghdr</c> and <c>struct unix_diag_req</c>: one socket by its number, whatever its cookie.</summary>
    private static void WritePeerRequest(Span<byte> request, uint number)
    {
        const ushort Request = 1;
        const uint AnyState = uint.MaxValue;
        const uint ShowPeer = 4;
        request.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(request, request.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(request[4..], SockDiagByFamily);
        BinaryPrimitives.WriteUInt16LittleEndian(request[6..], Request);
        request[NetlinkHeader] = AF_UNIX;
        BinaryPrimitives.WriteUInt32LittleEndian(request[(NetlinkHeader + 4)..], AnyState);
        BinaryPrimitives.WriteUInt32LittleEndian(request[(NetlinkHeader + 8)..], number);
        BinaryPrimitives.WriteUInt32LittleEndian(request[(NetlinkHeader + 12)..], ShowPeer);
        request[(NetlinkHeader + 16)..].Fill(0xFF);
    }

    /// <summary>Looks for the peer among the attributes behind <c>struct unix_diag_msg</c>.</summary>
    private static uint ReadPeer(ReadOnlySpan<byte> reply, uint number)
    {
        const int Header = 4;
        const ushort Peer = 2;
        if (reply.Length < PeerReply || BinaryPrimitives.ReadUInt16LittleEndian(reply[4..]) != SockDiagByFamily
            || BinaryPrimitives.ReadUInt32LittleEndian(reply[(NetlinkHeader + 4)..]) != number)
        {
            return 0;
        }

        ReadOnlySpan<byte> rest = reply[PeerReply..];
        while (rest.Length >= Header && BinaryPrimitives.ReadUInt16LittleEndian(rest) is var length and >= Header && length <= rest.Length)
        {
            if (BinaryPrimitives.ReadUInt16LittleEndian(rest[2..]) == Peer && length >= Header + sizeof(uint))
                return BinaryPrimitives.ReadUInt32LittleEndian(rest[Header..]);
            rest = rest[Math.Min(rest.Length, (length + 3) & ~3)..];
        }

        return 0;
    }
}
