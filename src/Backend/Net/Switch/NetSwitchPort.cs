using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// One port of a <see cref="NetSwitch"/>: the network device of a guest, which a <see cref="VhostUserBackend"/> serves on a socket. With
/// <see cref="QueueDispatch.Application"/> it is not served.
/// </summary>
/// <remarks>All members may be used from any thread.</remarks>
public sealed class NetSwitchPort
{
    private readonly SwitchLane[] _lanes;

    /// <summary>For each number of a conversation the pair that the guest sent it on, plus one.</summary>
    private readonly byte[] _steering = new byte[256];
    private long _runts;
    private long _linkLocal;
    private long _samePort;
    private long _notServed;
    private long _queueFull;
    private long _unwanted;
    private long _forwarded;
    private long _flooded;

    internal NetSwitchPort(NetSwitch owner, int index, NetSwitchPortOptions options, PacketPool pool, Func<EgressQueue> newQueue, PacketCapture? capture)
    {
        Capture = capture;
        Index = index;
        Name = NameOf(options, index);
        Device = new NetDevice(options.Device, new Handler(this));
        _lanes = [.. Device.Ports.Select(queues => new SwitchLane(owner, this, queues, pool, newQueue()))];
        Device.WasReset = () => owner.Leave(this);
    }

    internal static string NameOf(NetSwitchPortOptions options, int index) => options.Name ?? FormattableString.Invariant($"{index}");

    /// <summary>Its number, from 0.</summary>
    public int Index { get; }

    /// <summary><see cref="NetSwitchPortOptions.Name"/>.</summary>
    public string Name { get; }

    /// <summary>What to make the <see cref="VhostUserBackend"/> of this port with.</summary>
    public NetDevice Device { get; }

    /// <summary>What the port has done.</summary>
    public NetSwitchPortStatistics Statistics => new()
    {
        FromPort = NetQueueCounters.Sum(Device.Ports.Select(static queues => queues.FromGuest)),
        ToPort = NetQueueCounters.Sum(Device.Ports.Select(static queues => queues.ToGuest)),
        Runts = Volatile.Read(ref _runts),
        LinkLocal = Volatile.Read(ref _linkLocal),
        SamePort = Volatile.Read(ref _samePort),
        NotServed = Volatile.Read(ref _notServed),
        QueueFull = Volatile.Read(ref _queueFull),
        Unwanted = Volatile.Read(ref _unwanted),
        Segmented = _lanes.Sum(static lane => lane.Segmented),
        Unsegmentable = _lanes.Sum(static lane => lane.Unsegmentable),
        Captured = Capture?.Captured ?? 0,
        NotCaptured = Capture?.Missed ?? 0,
        Waiting = _lanes.Sum(static lane => lane.Waiting.Count),
    };

    /// <summary>Where all packets are noted; null: nowhere.</summary>
    internal PacketCapture? Capture { get; }

    /// <summary>Whether there is a guest that takes packets.</summary>
    internal bool IsServed => Array.Exists(_lanes, static lane => lane.IsServed);

    internal long Forwarded => Volatile.Read(ref _forwarded);

    internal long Flooded => Volatile.Read(ref _flooded);

    /// <summary>Remembers on which pair the guest sends a conversation: it expects it there.</summary>
    internal void Steer(ReadOnlySpan<PacketBuffer?> packets, int pair)
    {
        if (_lanes.Length == 1)
            return;
        foreach (PacketBuffer? packet in packets)
        {
            ReadOnlySpan<byte> data = packet!.Data;
            if (data.Length >= NetSwitch.HeaderLength)
                _steering[FlowHash.Of(data)] = (byte)(pair + 1);
        }
    }

    /// <summary>Gives the port packets; those that it takes over are null then.</summary>
    internal void Give(Span<PacketBuffer?> packets, int source)
    {
        NetReceiveFilter? filter = Filter();
        int end;
        for (int first = 0; first < packets.Length; first = end)
        {
            SwitchLane? lane = LaneOf(packets[first]!, filter);
            end = first + 1;
            while (end < packets.Length && ReferenceEquals(LaneOf(packets[end]!, filter), lane))
                end++;
            Give(packets[first..end], source, lane);
        }
    }

    /// <summary>Gives the port copies of packets.</summary>
    internal void GiveCopies(ReadOnlySpan<PacketBuffer?> packets, int source)
    {
        NetReceiveFilter? filter = Filter();
        foreach (PacketBuffer? packet in packets)
        {
            SwitchLane? lane = LaneOf(packet!, filter);
            bool wakes = false;
            int taken = lane is { IsServed: true } ? lane.Waiting.AddCopy(packet!, source, out wakes) : -1;
            Count(1, taken, lane);
            if (wakes)
                lane!.Wake();
        }
    }

    /// <summary>The guest is gone: so is what waits for it.</summary>
    internal void Close()
    {
        Array.Clear(_steering);
        foreach (SwitchLane lane in _lanes)
            lane.Close();
    }

    internal void CountRunt() => Interlocked.Increment(ref _runts);

    internal void CountLinkLocal() => Interlocked.Increment(ref _linkLocal);

    internal void CountSamePort() => Interlocked.Increment(ref _samePort);

    internal void CountForwarded(int packets) => Interlocked.Add(ref _forwarded, packets);

    internal void CountFlooded(int packets) => Interlocked.Add(ref _flooded, packets);

    private void Give(Span<PacketBuffer?> packets, int source, SwitchLane? lane)
    {
        bool wakes = false;
        int taken = lane is { IsServed: true } ? lane.Waiting.Add(packets, source, out wakes) : -1;
        Count(packets.Length, taken, lane);
        if (wakes)
            lane!.Wake();
    }

    private void Count(int packets, int taken, SwitchLane? lane)
    {
        if (taken == packets)
            return;
        if (lane is null)
            Interlocked.Add(ref _unwanted, packets);
        else if (taken < 0)
            Interlocked.Add(ref _notServed, packets);
        else
            Interlocked.Add(ref _queueFull, packets - taken);
    }

    /// <summary>What the driver wants; null: everything.</summary>
    private NetReceiveFilter? Filter() => Device.ReceiveFilter is { } filter && (filter.Modes & NetReceiveModes.Promiscuous) == 0 ? filter : null;

    /// <summary>The pair for a packet; null when the driver does not want it.</summary>
    private SwitchLane? LaneOf(PacketBuffer packet, NetReceiveFilter? filter)
    {
        ReadOnlySpan<byte> data = packet.Data;
        if (filter is not null && !filter.Accepts(data))
            return null;
        if (_lanes.Length == 1)
            return _lanes[0];
        byte flow = FlowHash.Of(data);
        int chosen = _steering[flow] is > 0 and var pair ? pair - 1 : flow % _lanes.Length;
        for (int i = 0; i < _lanes.Length; i++)
        {
            SwitchLane lane = _lanes[(chosen + i) % _lanes.Length];
            if (lane.IsServed)
                return lane;
        }

        return _lanes[chosen];
    }

    private sealed class Handler(NetSwitchPort owner) : INetHandler
    {
        public void FromGuest(NetPort port) => owner._lanes[port.Index].Receive();

        public void ToGuest(NetPort port) => owner._lanes[port.Index].Send();
    }
}
