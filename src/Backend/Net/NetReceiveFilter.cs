using System.Buffers.Binary;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Which packets the guest wants, as its driver said on the control queue; immutable. <see cref="NetPort.EnqueueBurst"/> does not look at it, as
/// DPDK's does not: a switch that knows who wants what asks <see cref="Accepts(PacketBuffer)"/> before it copies. A driver that says nothing wants everything.
/// </summary>
/// <remarks>Threading: any thread. <see cref="NetDevice.ReceiveFilter"/> is replaced as a whole by each command.</remarks>
public sealed record NetReceiveFilter
{
    /// <summary>Addresses that each of the tables keeps. More of a kind than that mean all of that kind, as with QEMU, which keeps 64 of both.</summary>
    public const int MaxTableEntries = 256;

    private const int LongestLook = 16;
    private const int EtherTypeAt = 12;
    private const ushort VlanTag = 0x8100;

    private readonly MacTable _unicast = MacTable.Empty;
    private readonly MacTable _multicast = MacTable.Empty;

    internal NetReceiveFilter()
    {
    }

    /// <summary>The modes that are switched on.</summary>
    public NetReceiveModes Modes { get; internal init; } = NetReceiveModes.Promiscuous;

    /// <summary>The guest's own address.</summary>
    public MacAddress Mac { get; internal init; }

    /// <summary>Further addresses of one station that the guest wants packets of.</summary>
    public IReadOnlyList<MacAddress> UnicastTable
    {
        get;
        internal init => (field, _unicast) = (value, new MacTable(value));
    } = [];

    /// <summary>Addresses of several stations that the guest wants packets of.</summary>
    public IReadOnlyList<MacAddress> MulticastTable
    {
        get;
        internal init => (field, _multicast) = (value, new MacTable(value));
    } = [];

    /// <summary>The driver named more addresses of one station than the table keeps: all are wanted.</summary>
    public bool UnicastOverflow { get; internal init; }

    /// <summary>The driver named more addresses of several stations than the table keeps: all are wanted.</summary>
    public bool MulticastOverflow { get; internal init; }

    /// <summary>One bit for each VLAN that is wanted; null where the driver cannot choose, and all are.</summary>
    internal ulong[]? Vlans { get; init; }

    /// <summary>Whether packets of a VLAN are wanted. Packets without a tag always pass.</summary>
    /// <param name="id">0 to 4095; others are not wanted.</param>
    public bool AcceptsVlan(int id) =>
        (uint)id < NetControlNumbers.Vlans && (Vlans is null || (Vlans[id / 64] & (1UL << (id % 64))) != 0);

    /// <summary>Whether the guest wants a packet.</summary>
    /// <param name="packet">It; looked at up to its VLAN tag.</param>
    public bool Accepts(PacketBuffer packet)
    {
        ArgumentNullException.ThrowIfNull(packet);
        Span<byte> start = stackalloc byte[LongestLook];
        return Accepts(start[..packet.CopyTo(start)]);
    }

    /// <summary>Whether the guest wants a packet.</summary>
    /// <param name="packet">Its first 16 bytes, or all of a shorter one. What is too short for an address is not wanted, but in promiscuous mode.</param>
    public bool Accepts(ReadOnlySpan<byte> packet)
    {
        if ((Modes & NetReceiveModes.Promiscuous) != 0)
            return true;
        if (!MacAddress.TryRead(packet, out MacAddress destination))
            return false;
        bool tagged = packet.Length >= LongestLook && BinaryPrimitives.ReadUInt16BigEndian(packet[EtherTypeAt..]) == VlanTag;
        if (tagged && !AcceptsVlan(BinaryPrimitives.ReadUInt16BigEndian(packet[(EtherTypeAt + 2)..]) & 0xFFF))
            return false;
        if (destination == MacAddress.Broadcast)
            return (Modes & NetReceiveModes.NoBroadcast) == 0;
        return destination.IsMulticast ? AcceptsMulticast(destination) : AcceptsUnicast(destination);
    }

    private bool AcceptsMulticast(MacAddress destination) =>
        (Modes & NetReceiveModes.NoMulticast) == 0
        && ((Modes & NetReceiveModes.AllMulticast) != 0 || MulticastOverflow || _multicast.Contains(destination));

    private bool AcceptsUnicast(MacAddress destination) =>
        (Modes & NetReceiveModes.NoUnicast) == 0
        && ((Modes & NetReceiveModes.AllUnicast) != 0 || UnicastOverflow || destination == Mac || _unicast.Contains(destination));
}
