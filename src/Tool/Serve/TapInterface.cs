using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>
/// The other end of a network interface of this system (TAP): what it sends is received here, and what is sent here it receives. It is gone when disposed, unless it was there before.
/// </summary>
/// <remarks>Threading: one thread at a time in each direction.</remarks>
internal sealed class TapInterface : IDisposable
{
    /// <summary>Bytes of a buffer to receive into: more than the largest MTU of an interface and the Ethernet header.</summary>
    internal const int BufferSize = PacketPool.MaxBufferSize;

    private const int LongestPacket = 65550;

    private readonly SafeFileHandle _device;
    private readonly ReactorRegistration _readiness;

    /// <summary>For packets that are longer than a buffer.</summary>
    private readonly byte[] _whole = new byte[VirtioNetHeader.Size + LongestPacket];

    private TapInterface(SafeFileHandle device, string name)
    {
        _device = device;
        _readiness = Reactor.Shared.Register(device);
        Name = name;
    }

    /// <summary>The interface's name, as the kernel says it.</summary>
    internal string Name { get; }

    /// <summary>Whether this can be the name of an interface; %d in it stands for a free number.</summary>
    internal static bool IsName(string name) =>
        name.Length is > 0 and <= Libc.MaxInterfaceName && name is not ("." or "..") && name.All(letter => letter is > ' ' and < '\x7F' and not ('/' or ':'));

    /// <summary>Opens an interface, and makes it where there is none of that name. It is down then, unless it was there before and up.</summary>
    /// <param name="name">See <see cref="IsName"/>.</param>
    /// <exception cref="ToolException">It cannot be had; the message says what to do.</exception>
    internal static TapInterface Open(string name)
    {
        try
        {
            return new TapInterface(Libc.OpenTap(name, VirtioNetHeader.Size, out string actual), actual);
        }
        catch (LinuxException refusal)
        {
            throw new ToolException($"--tap {name}: {WhatToDo(name, refusal.Errno)}", refusal);
        }
    }

    /// <summary>Lets the interface leave work to the other side of a session: what a driver may leave to that device.</summary>
    /// <exception cref="ToolException">The interface is gone.</exception>
    internal void LeaveTo(VirtioNetFeatures features)
    {
        uint offloads = Bit(VirtioNetFeatures.Checksum, Libc.TUN_F_CSUM) | Bit(VirtioNetFeatures.HostTso4, Libc.TUN_F_TSO4)
            | Bit(VirtioNetFeatures.HostTso6, Libc.TUN_F_TSO6) | Bit(VirtioNetFeatures.HostEcn, Libc.TUN_F_TSO_ECN);
        try
        {
            Libc.SetTapOffloads(_device, offloads);
        }
        catch (LinuxException refusal)
        {
            throw Gone(refusal);
        }

        uint Bit(VirtioNetFeatures feature, uint bit) => (features & feature) != 0 ? bit : 0;
    }

    /// <summary>What to throw when the kernel says that there is nothing to be had any more.</summary>
    internal ToolException Gone(LinuxException reason) => new($"TAP interface {Name}: it cannot be used any more. Was it removed?", reason);

    /// <summary>Waits until the interface may have sent something.</summary>
    internal ValueTask WaitAsync(CancellationToken cancellationToken) => _readiness.ReadableAsync(cancellationToken);

    /// <summary>Takes the next packet that the interface has sent. Never waits.</summary>
    /// <param name="packet">A buffer of <see cref="BufferSize"/> bytes; empty then when the packet cannot be used.</param>
    /// <returns>0 or the error number: EAGAIN when there is no packet.</returns>
    internal int TryReceive(PacketBuffer packet)
    {
        packet.Reset();
        packet.Append(packet.Tailroom);
        packet.Prepend(VirtioNetHeader.Size);
        Span<byte> place = packet.Data;
        int count = Libc.Read(_device, place);
        bool isWhole = count > VirtioNetHeader.Size && count < place.Length; // of one that fills the buffer there may have been more
        if (!isWhole || !VirtioNetHeader.TryRead(place, out VirtioNetHeader header))
        {
            packet.Reset();
            return Math.Max(0, -count);
        }

        packet.TrimEnd(place.Length - count);
        packet.TrimStart(VirtioNetHeader.Size);
        packet.Offload = new PacketOffload(header.Flags, header.GsoType, header.HeaderLength, header.GsoSize, header.ChecksumStart, header.ChecksumOffset);
        return 0;
    }

    /// <summary>Lets the interface receive a packet. Never waits.</summary>
    /// <param name="packet">The packet, with <see cref="VirtioNetHeader.Size"/> bytes of headroom; what is left to do to it was checked.</param>
    /// <returns>False when the kernel does not take it: the interface is down or gone, or what is left to do makes no sense to it.</returns>
    internal bool TrySend(PacketBuffer packet)
    {
        if (!TryMakeHeader(packet.Offload, out VirtioNetHeader header))
            return false;
        if (packet.Next is null)
        {
            header.Write(packet.Prepend(VirtioNetHeader.Size));
            return Libc.Write(_device, packet.Data) == packet.Length;
        }

        header.Write(_whole.AsSpan(0, VirtioNetHeader.Size));
        Span<byte> all = _whole.AsSpan(0, VirtioNetHeader.Size + packet.CopyTo(_whole.AsSpan(VirtioNetHeader.Size)));
        return Libc.Write(_device, all) == all.Length;
    }

    public void Dispose()
    {
        _readiness.Dispose();
        _device.Dispose();
    }

    /// <summary>
    /// Says nothing but what was checked against the packet and the features: not that a checksum is right, which nobody has looked at, and no lengths that mean nothing. False: segments without
    /// checksums to complete, which no driver may send (virtio 1.2, 5.1.6.2.1).
    /// </summary>
    private static bool TryMakeHeader(PacketOffload offload, out VirtioNetHeader header)
    {
        bool isLong = offload.Segmentation != VirtioNetGsoType.None;
        header = !offload.NeedsChecksum
            ? default
            : new VirtioNetHeader(
                VirtioNetHeaderFlags.NeedsChecksum,
                isLong ? offload.GsoType : VirtioNetGsoType.None,
                isLong ? offload.HeaderLength : (ushort)0,
                isLong ? offload.GsoSize : (ushort)0,
                offload.ChecksumStart,
                offload.ChecksumOffset,
                BufferCount: 0);
        return offload.NeedsChecksum || !isLong;
    }

    private static string WhatToDo(string name, int errno) => errno switch
    {
        Libc.ENOENT or Libc.ENODEV or Libc.ENXIO =>
            "there is no /dev/net/tun here. Load its module (modprobe tun), or give the container the device (--device /dev/net/tun).",
        Libc.EPERM or Libc.EACCES =>
            $"this process may not. It needs CAP_NET_ADMIN and access to /dev/net/tun, or an interface that was made for its user: ip tuntap add {name} mode tap user NAME",
        Libc.EBUSY => "another process uses the interface.",
        Libc.EINVAL => "there is an interface of that name that is no TAP interface, or one with several queues.",
        _ => "it cannot be opened.",
    };
}
