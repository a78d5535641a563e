using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// What a driver has said on the control queue. Commands run one after the other on the queue's worker; each either changes everything it is about or nothing.
/// Readers see the state before or after a command.
/// </summary>
internal sealed class NetControlQueue
{
    /// <summary>Each may have as many pieces as the ring has places, and others wait for the thread.</summary>
    private const int MostPerTurn = 64;

    private readonly int _pairs;
    private readonly MacAddress _mac;
    private NetReceiveFilter _filter;
    private VirtioNetFeatures _acknowledged;
    private int _activePairs;
    private int _announcing;
    private bool _served;

    /// <summary>What another device has left; until the queue is served, a driver that comes with it says its features.</summary>
    private NetControlState? _restored;

    internal NetControlQueue(int pairs, MacAddress mac)
    {
        _pairs = pairs;
        _mac = mac;
        _activePairs = pairs;
        _filter = new NetReceiveFilter { Mac = mac };
    }

    /// <summary>Pairs in use: one after a reset, until the driver names another number; all where it does not use the control queue.</summary>
    internal int ActivePairs => Volatile.Read(ref _activePairs);

    internal NetReceiveFilter Filter => Volatile.Read(ref _filter);

    /// <summary>The driver is asked to announce itself and has not confirmed it yet.</summary>
    internal bool IsAnnouncing => Volatile.Read(ref _announcing) != 0;

    /// <summary>Called when <see cref="ActivePairs"/> has changed.</summary>
    internal Action? PairsChanged { get; set; }

    /// <summary>What moves with the guest. No queue runs.</summary>
    internal NetControlState Save(int? mtu) => new(Filter, ActivePairs, _served, IsAnnouncing, mtu);

    /// <summary>Goes on where another device was. No queue runs.</summary>
    internal void Restore(NetControlState state)
    {
        _restored = state;
        ApplyRestored(state);
    }

    /// <summary>The device is reset: starts over, and forgets what another one has left.</summary>
    internal void Forget()
    {
        _restored = null;
        Reset((VirtioFeatures)(ulong)_acknowledged);
    }

    /// <summary>Starts over under these features, from what another device has left or afresh. No queue runs.</summary>
    internal void Reset(VirtioFeatures acknowledged)
    {
        _acknowledged = (VirtioNetFeatures)(ulong)acknowledged;
        Volatile.Write(ref _filter, new NetReceiveFilter { Mac = _mac, Vlans = NoVlans() });
        Volatile.Write(ref _announcing, 0);
        _served = false;
        SetActivePairs(_pairs);
        if (_restored is { } state)
            ApplyRestored(state);
    }

    /// <summary>Asks the driver to announce itself. False when it cannot be asked.</summary>
    internal bool TryAnnounce()
    {
        const VirtioNetFeatures Needed = VirtioNetFeatures.GuestAnnounce | VirtioNetFeatures.ControlQueue | VirtioNetFeatures.Status;
        bool can = (_acknowledged & Needed) == Needed && Volatile.Read(ref _served);
        if (can)
            Volatile.Write(ref _announcing, 1);
        return can;
    }

    /// <summary>Serves the control queue. A driver that never rests gets a turn of so many commands at a time.</summary>
    internal void Process(DeviceVirtqueue queue)
    {
        _restored = null;
        if (!_served)
            Begin();
        for (int turn = 0; turn < MostPerTurn && queue.TryPop(out DescriptorChain chain); turn++)
        {
            // Without room for an answer it is no command.
            bool answerable = chain.Writable.Length > 0;
            if (answerable)
                chain.Writable.TryWrite(TryExecute(chain.Readable) ? NetControlNumbers.Done : NetControlNumbers.Refused);
            queue.Complete(chain, answerable ? 1u : 0u);
        }
    }

    /// <summary>The queue runs: the driver uses it, and so has one pair until it asks for more.</summary>
    private void Begin()
    {
        Volatile.Write(ref _served, true);
        if (Has(VirtioNetFeatures.MultiQueue))
            SetActivePairs(1);
    }

    /// <summary>None that is let through, where the driver chooses; null: all, where it does not.</summary>
    private ulong[]? NoVlans() => Has(VirtioNetFeatures.ControlVlan) ? new ulong[NetControlNumbers.Vlans / 64] : null;

    /// <summary>A state of any bytes may say that VLANs are chosen, or are not, of a driver that has acknowledged the other: what it has acknowledged decides.</summary>
    private void ApplyRestored(NetControlState state)
    {
        Change(state.Filter with { Vlans = NoVlans() is { } none ? state.Filter.Vlans ?? none : null });
        Volatile.Write(ref _announcing, state.IsAnnouncing ? 1 : 0);
        Volatile.Write(ref _served, state.IsServed);
        SetActivePairs(state.ActivePairs);
    }

    private bool TryExecute(GuestBuffers bytes)
    {
        if (!bytes.TryRead(out ushort word))
            return false;
        GuestBuffers data = bytes.Slice(NetControlNumbers.HeaderSize);
        NetControlCommand command = (NetControlCommand)word;
        return Has(NeededFor(command)) && command switch
        {
            <= NetControlCommand.NoBroadcast when (word & 0xFF) == 0 => TrySetMode(word >> 8, data),
            NetControlCommand.SetMacTable => TrySetMacTable(data),
            NetControlCommand.SetMacAddress => TrySetMac(data),
            NetControlCommand.AddVlan => TrySetVlan(data, wanted: true),
            NetControlCommand.RemoveVlan => TrySetVlan(data, wanted: false),
            NetControlCommand.AcknowledgeAnnouncement => data.Length == 0 && Interlocked.Exchange(ref _announcing, 0) != 0,
            NetControlCommand.SetQueuePairs => TrySetPairs(data),
            _ => false,
        };
    }

    private static VirtioNetFeatures NeededFor(NetControlCommand command) => command switch
    {
        NetControlCommand.Promiscuous or NetControlCommand.AllMulticast or NetControlCommand.SetMacTable => VirtioNetFeatures.ControlReceive,
        NetControlCommand.AllUnicast or NetControlCommand.NoMulticast or NetControlCommand.NoUnicast or NetControlCommand.NoBroadcast => VirtioNetFeatures.ControlReceiveExtra,
        NetControlCommand.SetMacAddress => VirtioNetFeatures.ControlMacAddress,
        NetControlCommand.AddVlan or NetControlCommand.RemoveVlan => VirtioNetFeatures.ControlVlan,
        NetControlCommand.AcknowledgeAnnouncement => VirtioNetFeatures.GuestAnnounce,
        NetControlCommand.SetQueuePairs => VirtioNetFeatures.MultiQueue,
        _ => VirtioNetFeatures.ControlQueue, // which no command needs that is not there
    };

    private bool TrySetMode(int mode, GuestBuffers data)
    {
        if (!TryReadWhole(data, out byte on) || on > 1)
            return false;
        NetReceiveModes flag = (NetReceiveModes)(1 << mode);
        Change(_filter with { Modes = on == 1 ? _filter.Modes | flag : _filter.Modes & ~flag });
        return true;
    }

    private bool TrySetMac(GuestBuffers data)
    {
        Span<byte> bytes = stackalloc byte[MacAddress.Size];
        if (data.Length != MacAddress.Size || data.CopyTo(bytes) != bytes.Length)
            return false;
        MacAddress.TryRead(bytes, out MacAddress mac);
        if (mac.IsMulticast)
            return false;
        Change(_filter with { Mac = mac });
        return true;
    }

    /// <summary>Two tables, each a count and as many addresses, that fill the command to its last byte.</summary>
    private bool TrySetMacTable(GuestBuffers data)
    {
        if (!TryReadTable(ref data, out MacAddress[] unicast, out bool unicastOverflow)
            || !TryReadTable(ref data, out MacAddress[] multicast, out bool multicastOverflow)
            || data.Length != 0)
        {
            return false;
        }

        Change(_filter with { UnicastTable = unicast, UnicastOverflow = unicastOverflow, MulticastTable = multicast, MulticastOverflow = multicastOverflow });
        return true;
    }

    private static bool TryReadTable(ref GuestBuffers data, out MacAddress[] table, out bool overflow)
    {
        table = [];
        overflow = false;
        if (!data.TryRead(out uint count))
            return false;
        data = data.Slice(sizeof(uint));
        ulong bytes = (ulong)count * MacAddress.Size;
        if (bytes > data.Length)
            return false;
        overflow = count > NetReceiveFilter.MaxTableEntries;
        table = new MacAddress[overflow ? 0 : count];

        // In one copy: a driver may cut a command into pieces of a byte, and each look for a place among them would begin at the first.
        Span<byte> all = stackalloc byte[NetReceiveFilter.MaxTableEntries * MacAddress.Size];
        all = all[..(table.Length * MacAddress.Size)];
        data.CopyTo(all);
        for (int i = 0; i < table.Length; i++)
            MacAddress.TryRead(all[(i * MacAddress.Size)..], out table[i]);

        data = data.Slice((uint)bytes);
        return true;
    }

    private bool TrySetVlan(GuestBuffers data, bool wanted)
    {
        if (!TryReadWhole(data, out ushort id) || id >= NetControlNumbers.Vlans)
            return false;
        ulong[] vlans = [.. _filter.Vlans!];
        ulong bit = 1UL << (id % 64);
        vlans[id / 64] = wanted ? vlans[id / 64] | bit : vlans[id / 64] & ~bit;
        Change(_filter with { Vlans = vlans });
        return true;
    }

    private bool TrySetPairs(GuestBuffers data)
    {
        if (!TryReadWhole(data, out ushort pairs) || pairs == 0 || pairs > _pairs)
            return false;
        SetActivePairs(pairs);
        return true;
    }

    private static bool TryReadWhole<T>(GuestBuffers data, out T value)
        where T : unmanaged
    {
        uint length = data.Length;
        return data.TryRead(out value) & length == (uint)System.Runtime.CompilerServices.Unsafe.SizeOf<T>();
    }

    private bool Has(VirtioNetFeatures features) => (_acknowledged & features) == features;

    private void Change(NetReceiveFilter filter) => Volatile.Write(ref _filter, filter);

    private void SetActivePairs(int pairs)
    {
        Volatile.Write(ref _activePairs, pairs);
        PairsChanged?.Invoke();
    }
}
