using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A learning Ethernet switch (IEEE 802.1D) between guests: each port is a network device. A packet to a known address goes to its port, one to an unknown address or to several stations to
/// all ports but its own.
/// </summary>
/// <remarks>
/// <para>A port that is slow, stopped or gone costs its own packets alone: what it has no room for waits in a queue of its own, and is dropped and counted when that is full. Nobody waits for it.</para>
/// <para>What a guest leaves to the device (checksums, segmentation of TCP) is passed on to a guest that takes it, and otherwise done here.</para>
/// <para>Serve the ports as any device; all ways but <see cref="QueueDispatch.Application"/> do: nothing runs while there is nothing to do, unless they poll. Passing packets on allocates nothing.</para>
/// <para>A guest can use any source address, that of another one too, as on any such switch: then packets to that address go to whoever used it last.</para>
/// <para>All members may be used from any thread.</para>
/// </remarks>
/// <example>
/// <code>
/// using NetSwitch net = new(new NetSwitchOptions { Ports = [new() { Name = "a" }, new() { Name = "b" }] });
/// await using VhostUserBackend a = new(net.Ports[0].Device);
/// await using VhostUserBackend b = new(net.Ports[1].Device);
/// await Task.WhenAll(a.ListenAsync("/run/a.sock", stopping), b.ListenAsync("/run/b.sock", stopping));
/// </code>
/// </example>
public sealed class NetSwitch : IDisposable
{
    /// <summary>The offloads that the switch does for guests that do not: what its ports can offer.</summary>
    public const VirtioNetFeatures Offloads = VirtioNetFeatures.Checksum | VirtioNetFeatures.HostTso4 | VirtioNetFeatures.HostTso6 | VirtioNetFeatures.HostEcn
        | VirtioNetFeatures.GuestChecksum | VirtioNetFeatures.GuestTso4 | VirtioNetFeatures.GuestTso6 | VirtioNetFeatures.GuestEcn;

    internal const int HeaderLength = 14;

    /// <summary>Where a packet goes, beside the number of a port.</summary>
    internal const int Everywhere = -1, Nowhere = -2;

    /// <summary>Entries of the table of stations that are listed without letting a packet pass.</summary>
    private const int ListedAtOnce = 256;

    private readonly Lock _gate = new();
    private readonly StationTable _stations;
    private readonly NetSwitchPort[] _ports;
    private readonly TimeProvider _time;

    /// <summary>Makes a switch; its ports are to be served.</summary>
    /// <param name="options">Its shape.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="IOException">A <see cref="NetSwitchPortOptions.CaptureFile"/> cannot be made.</exception>
    public NetSwitch(NetSwitchOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        Name = options.Name;
        _time = options.TimeProvider;
        int ports = options.Ports.Count;
        long ageing = options.Ageing == Timeout.InfiniteTimeSpan ? long.MaxValue : (long)Math.Ceiling(options.Ageing.TotalSeconds * _time.TimestampFrequency);
        _stations = new StationTable(ports, options.StationsPerPort, ageing);

        // As many as all can hold at once: no port can take away what another one needs.
        PacketPool pool = new(checked((int)options.Buffers));
        PacketCapture?[] captures = OpenCaptures(options);
        _ports = [.. options.Ports.Select((port, index) => new NetSwitchPort(this, index, port, pool, NewQueue, captures[index]))];
        SwitchMetrics.Watch(this);

        EgressQueue NewQueue() => new(pool, options.QueueBuffers, ports);
    }

    /// <summary><see cref="NetSwitchOptions.Name"/>.</summary>
    public string Name { get; }

    /// <summary>The ports.</summary>
    public IReadOnlyList<NetSwitchPort> Ports => _ports;

    /// <summary>What the switch has done.</summary>
    public NetSwitchStatistics Statistics
    {
        get
        {
            NetSwitchStatistics counted = new()
            {
                Forwarded = _ports.Sum(static port => port.Forwarded),
                Flooded = _ports.Sum(static port => port.Flooded),
                Ports = [.. _ports.Select(static port => port.Statistics)],
            };
            lock (_gate)
            {
                return counted with
                {
                    Stations = _stations.Count,
                    Learned = _stations.Learned,
                    Moved = _stations.Moved,
                    Replaced = _stations.Replaced,
                    Expired = _stations.Expired,
                };
            }
        }
    }

    /// <summary>
    /// The addresses that are known, by port, each port's from the one that was silent longest. A copy that is made while packets pass: an address that moves to another port
    /// meanwhile may be missing.
    /// </summary>
    public IReadOnlyList<NetStation> GetStations()
    {
        Dictionary<ulong, KnownStation> all = [];
        KnownStation[] piece = new KnownStation[ListedAtOnce];
        long now = _time.GetTimestamp();
        int place = 0;
        bool more = true;
        while (more)
        {
            int count;
            lock (_gate)
                more = _stations.Copy(ref place, now, piece, out count);
            foreach (KnownStation one in piece.AsSpan(0, count))
                all[one.Address] = one;
        }

        return
        [
            .. all.Values.OrderBy(static one => one.Port).ThenBy(static one => one.Seen)
                .Select(one => new NetStation(new MacAddress(one.Address), _ports[one.Port], _time.GetElapsedTime(0, Math.Max(0, now - one.Seen)))),
        ];
    }

    /// <summary>Ends the switch; dispose of the back-ends of its ports first.</summary>
    public void Dispose()
    {
        SwitchMetrics.Forget(this);
        foreach (NetSwitchPort port in _ports)
            Leave(port);
        PacketCapture.End([.. _ports.Select(static port => port.Capture).OfType<PacketCapture>()]);
    }

    /// <summary>The guest of a port is gone.</summary>
    internal void Leave(NetSwitchPort port)
    {
        port.Close();
        lock (_gate)
            _stations.Forget(port.Index);
    }

    /// <summary>Learns from what came from a port, and finds out where it goes.</summary>
    /// <param name="from">The port.</param>
    /// <param name="pair">The pair of queues that it came on.</param>
    /// <param name="packets">What came.</param>
    /// <param name="to">For each packet the number of a port, <see cref="Everywhere"/> or <see cref="Nowhere"/>.</param>
    internal void Choose(NetSwitchPort from, int pair, ReadOnlySpan<PacketBuffer?> packets, Span<int> to)
    {
        from.Steer(packets, pair);
        long now = _time.GetTimestamp();
        lock (_gate)
        {
            for (int i = 0; i < packets.Length; i++)
                to[i] = Choose(from, packets[i]!.Data, now);
        }
    }

    /// <summary>Passes packets on, from the first, until there is no room for more copies. On the worker that received them.</summary>
    /// <param name="from">The port that they came from.</param>
    /// <param name="packets">Those that were taken over are null then.</param>
    /// <param name="to">What <see cref="Choose(NetSwitchPort, int, ReadOnlySpan{PacketBuffer}, Span{int})"/> has found out.</param>
    /// <param name="room">Bytes that may be copied, above 0; less then. One packet may take more.</param>
    /// <returns>How many were dealt with.</returns>
    internal int Forward(NetSwitchPort from, Span<PacketBuffer?> packets, ReadOnlySpan<int> to, ref long room)
    {
        int done = 0;
        while (done < packets.Length && room > 0)
        {
            int end = done + 1;
            while (end < packets.Length && to[end] == to[done])
                end++;
            Span<PacketBuffer?> run = packets[done..end];
            if (to[done] == Everywhere)
                run = run[..Flood(from, run, ref room)];
            else if (to[done] >= 0)
                Give(from, _ports[to[done]], run);
            done += run.Length;
        }

        return done;
    }

    private static PacketCapture?[] OpenCaptures(NetSwitchOptions options)
    {
        PacketCapture?[] captures = new PacketCapture?[options.Ports.Count];
        try
        {
            for (int i = 0; i < captures.Length; i++)
            {
                NetSwitchPortOptions port = options.Ports[i];
                captures[i] = port.CaptureFile is { } path ? new PacketCapture(path, NetSwitchPort.NameOf(port, i), options.TimeProvider) : null;
            }

            return captures;
        }
        catch
        {
            PacketCapture.End([.. captures.OfType<PacketCapture>()]);
            throw;
        }
    }

    private static void Give(NetSwitchPort from, NetSwitchPort to, Span<PacketBuffer?> packets)
    {
        from.CountForwarded(packets.Length);
        to.Give(packets, from.Index);
    }

    /// <summary>Gives packets to all ports but their own, as many packets as there is room for copies of; all ports but the last get copies.</summary>
    /// <returns>How many packets, at least one.</returns>
    private int Flood(NetSwitchPort from, Span<PacketBuffer?> packets, ref long room)
    {
        int copies = CopiesOf(from);
        int count = 0;
        for (; count < packets.Length && room > 0; count++)
            room -= (long)copies * packets[count]!.PacketLength;
        packets = packets[..count];
        from.CountFlooded(count);
        NetSwitchPort? before = null;
        foreach (NetSwitchPort port in _ports)
        {
            if (ReferenceEquals(port, from))
                continue;
            before?.GiveCopies(packets, from.Index);
            before = port;
        }

        before?.Give(packets, from.Index);
        return count;
    }

    /// <summary>How many ports get a copy of what one sends to everybody: those with a guest, but one, which gets the packet.</summary>
    private int CopiesOf(NetSwitchPort from)
    {
        int others = 0;
        foreach (NetSwitchPort port in _ports)
            others += port.IsServed && !ReferenceEquals(port, from) ? 1 : 0;
        return Math.Max(0, others - 1);
    }

    private int Choose(NetSwitchPort from, ReadOnlySpan<byte> packet, long now)
    {
        if (packet.Length < HeaderLength)
        {
            from.CountRunt();
            return Nowhere;
        }

        MacAddress.TryRead(packet, out MacAddress destination);
        MacAddress.TryRead(packet[MacAddress.Size..], out MacAddress source);
        if (!source.IsMulticast && source.Value != 0)
            _stations.Learn(source.Value, from.Index, now);
        if (IsLinkLocal(destination))
        {
            from.CountLinkLocal();
            return Nowhere;
        }

        int port = destination.IsMulticast ? Everywhere : _stations.Find(destination.Value, now);
        if (port != from.Index)
            return port < 0 ? Everywhere : port;
        from.CountSamePort();
        return Nowhere;
    }

    /// <summary>01:80:c2:00:00:01 to 0f. What bridges tell each other (00) passes, as this one takes no part in it: they find a loop that leads through here.</summary>
    private static bool IsLinkLocal(MacAddress address) => (address.Value & 0x00FF_FFFF_FFFF) == 0x00C2_8001 && address.Value >> 40 is > 0 and < 16;
}

/// <summary>An address that a switch knows.</summary>
/// <param name="Address">The address.</param>
/// <param name="Port">Where it was seen last.</param>
/// <param name="Age">How long ago.</param>
public sealed record NetStation(MacAddress Address, NetSwitchPort Port, TimeSpan Age);
