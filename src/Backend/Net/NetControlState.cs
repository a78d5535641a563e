using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What the driver of a network device has said on the control queue, as it moves with the guest. Immutable.</summary>
internal sealed record NetControlState(NetReceiveFilter Filter, int ActivePairs, bool IsServed, bool IsAnnouncing, int? Mtu)
{
    private const NetReceiveModes AllModes = NetReceiveModes.Promiscuous | NetReceiveModes.AllMulticast | NetReceiveModes.AllUnicast
        | NetReceiveModes.NoMulticast | NetReceiveModes.NoUnicast | NetReceiveModes.NoBroadcast;

    internal byte[] ToBytes()
    {
        using MemoryStream bytes = new();
        using BinaryWriter fields = new(bytes);
        Write(fields, Filter.Mac);
        fields.Write((byte)Filter.Modes);
        Write(fields, Filter.UnicastTable, Filter.UnicastOverflow);
        Write(fields, Filter.MulticastTable, Filter.MulticastOverflow);
        fields.Write(Filter.Vlans is not null);
        foreach (ulong word in Filter.Vlans ?? [])
            fields.Write(word);
        fields.Write((ushort)ActivePairs);
        fields.Write(IsServed);
        fields.Write(IsAnnouncing);
        fields.Write((uint)(Mtu ?? 0));
        return bytes.ToArray();
    }

    /// <exception cref="InvalidDataException">It cannot be a state of a device with so many pairs and this largest MTU.</exception>
    internal static NetControlState Parse(ReadOnlySpan<byte> bytes, int pairs, int largestMtu)
    {
        SavedBytes fields = new(bytes, "state of a network device");
        MacAddress mac = ReadMac(ref fields, "MAC address");
        if (mac.IsMulticast)
            throw fields.Bad("MAC address", mac.Value, "that of one station");
        byte modes = fields.U8("receive modes");
        if ((modes & ~(int)AllModes) != 0)
            throw fields.Bad("receive modes", modes, string.Create(CultureInfo.InvariantCulture, $"of {(int)AllModes}"));
        (MacAddress[] unicast, bool unicastOverflow) = ReadTable(ref fields, "unicast table");
        (MacAddress[] multicast, bool multicastOverflow) = ReadTable(ref fields, "multicast table");
        NetReceiveFilter filter = new()
        {
            Mac = mac,
            Modes = (NetReceiveModes)modes,
            UnicastTable = unicast,
            UnicastOverflow = unicastOverflow,
            MulticastTable = multicast,
            MulticastOverflow = multicastOverflow,
            Vlans = fields.Flag("whether VLANs are chosen") ? ReadVlans(ref fields) : null,
        };
        ushort active = fields.U16("active pairs");
        if (active == 0 || active > pairs)
            throw fields.Bad("active pairs", active, string.Create(CultureInfo.InvariantCulture, $"1 to {pairs}"));
        bool served = fields.Flag("whether the control queue is used");
        bool announcing = fields.Flag("whether an announcement is due");
        uint mtu = fields.U32("MTU");
        if (mtu != 0 && (mtu < NetDevice.MinMtu || mtu > largestMtu))
            throw fields.Bad("MTU", mtu, string.Create(CultureInfo.InvariantCulture, $"0, or {NetDevice.MinMtu} to {largestMtu}"));
        fields.RequireEnd();
        return new NetControlState(filter, active, served, announcing, mtu == 0 ? null : (int)mtu);
    }

    private static void Write(BinaryWriter fields, MacAddress mac)
    {
        Span<byte> bytes = stackalloc byte[MacAddress.Size];
        mac.Write(bytes);
        fields.Write(bytes);
    }

    private static void Write(BinaryWriter fields, IReadOnlyList<MacAddress> table, bool overflow)
    {
        fields.Write((uint)table.Count);
        foreach (MacAddress mac in table)
            Write(fields, mac);
        fields.Write(overflow);
    }

    private static MacAddress ReadMac(ref SavedBytes fields, string field)
    {
        MacAddress.TryRead(fields.Take(MacAddress.Size, field), out MacAddress mac);
        return mac;
    }

    private static (MacAddress[] Table, bool Overflow) ReadTable(ref SavedBytes fields, string field)
    {
        MacAddress[] table = new MacAddress[fields.Count(field, NetReceiveFilter.MaxTableEntries, MacAddress.Size)];
        for (int i = 0; i < table.Length; i++)
            table[i] = ReadMac(ref fields, field);
        return (table, fields.Flag(field + " overflow"));
    }

    private static ulong[] ReadVlans(ref SavedBytes fields)
    {
        ulong[] vlans = new ulong[NetControlNumbers.Vlans / 64];
        for (int i = 0; i < vlans.Length; i++)
            vlans[i] = fields.U64("VLANs");
        return vlans;
    }
}
