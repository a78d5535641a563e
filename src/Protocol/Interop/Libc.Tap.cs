using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>TAP interfaces (Linux, Documentation/networking/tuntap.rst).</summary>
internal static partial class Libc
{
    internal const uint TUN_F_CSUM = 0x1;
    internal const uint TUN_F_TSO4 = 0x2;
    internal const uint TUN_F_TSO6 = 0x4;
    internal const uint TUN_F_TSO_ECN = 0x8;

    /// <summary>The most bytes of an interface's name beside its terminating zero.</summary>
    internal const int MaxInterfaceName = 15;

    /// <summary>Bytes of <c>struct ifreq</c>, which begins with the name and its terminating zero.</summary>
    internal const int InterfaceRequestBytes = 40;

    internal const uint TUNSETIFF = 0x400454CA;
    internal const uint TUNSETOFFLOAD = 0x400454D0;
    internal const uint TUNSETVNETHDRSZ = 0x400454D8;
    internal const uint TUNSETVNETLE = 0x400454DC;
    internal const short IFF_TAP = 0x2;
    internal const short IFF_NO_PI = 0x1000;
    internal const short IFF_VNET_HDR = 0x4000;

    /// <summary>Opens a TAP interface, and makes it where there is none of that name: non-blocking, closed on exec. Each packet is behind a virtio header, little-endian.</summary>
    /// <param name="name">Its name, of 1 to <see cref="MaxInterfaceName"/> ASCII characters; %d in it stands for a free number.</param>
    /// <param name="headerLength">Bytes of the header.</param>
    /// <param name="actual">The name that it has.</param>
    /// <exception cref="LinuxException">It cannot be had; <see cref="LinuxException.Operation"/> says at which step.</exception>
    // Safety: struct ifreq is a local of its size, with the name in the first 16 and the flags behind it; the other requests read one int each.
    internal static unsafe SafeFileHandle OpenTap(string name, int headerLength, out string actual)
    {
        const int NameBytes = MaxInterfaceName + 1;
        SafeFileHandle device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
        int errno = Marshal.GetLastPInvokeError();
        if (device.IsInvalid) throw new LinuxException("open(/dev/net/tun)", errno);
        byte* request = stackalloc byte[InterfaceRequestBytes];
        Span<byte> bytes = new(request, InterfaceRequestBytes);
        bytes.Clear();
        int littleEndian = 1;
        try
        {
            Encoding.ASCII.GetBytes(name, bytes[..MaxInterfaceName]);
            BinaryPrimitives.WriteInt16LittleEndian(bytes[NameBytes..], IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
            Control(device, TUNSETIFF, request, "ioctl(TUNSETIFF)");
            Control(device, TUNSETVNETHDRSZ, (byte*)&headerLength, "ioctl(TUNSETVNETHDRSZ)");
            Control(device, TUNSETVNETLE, (byte*)&littleEndian, "ioctl(TUNSETVNETLE)");
        }
        catch
        {
            device.Dispose();
            throw;
        }

        actual = Encoding.ASCII.GetString(bytes[..bytes.IndexOf((byte)0)]);
        return device;
    }

    /// <summary>Says what the kernel may leave to do in packets that are read: bits of TUN_F.</summary>
    /// <exception cref="LinuxException">It knows no such work.</exception>
    // Safety: the argument of this request is a number and no address.
    internal static unsafe void SetTapOffloads(SafeHandle tap, uint offloads) => Control(tap, TUNSETOFFLOAD, (byte*)(nuint)offloads, "ioctl(TUNSETOFFLOAD)");

    // Safety: the caller passes what the request takes.
    private static unsafe void Control(SafeHandle descriptor, nuint request, byte* argument, string operation)
    {
        int result = ioctl(descriptor, request, argument);
        int errno = Marshal.GetLastPInvokeError();
        if (result < 0) throw new LinuxException(operation, errno);
    }
}
