using System.Diagnostics;
using System.Numerics;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>
/// Waits for traffic, lets it run warm, measures, ends. The thread that measures sleeps meanwhile and allocates nothing. A peer that leaves, or a signal, ends the
/// measured interval early.
/// </summary>
internal static class NetBenchRun
{
    private const int LookMilliseconds = 5;
    private const int UsualBuffer = 2048;

    private static readonly TimeSpan _warmUp = TimeSpan.FromSeconds(0.5);
    private static readonly TimeSpan _step = TimeSpan.FromMilliseconds(50);

    internal static Task<NetBenchReport> RunAsync(NetBenchSettings settings, CancellationToken stop) =>
        settings.Role == NetRole.FrontEnd ? RunFrontendAsync(settings, stop) : RunBackendAsync(settings, stop);

    private static async Task<NetBenchReport> RunFrontendAsync(NetBenchSettings settings, CancellationToken stop)
    {
        NetClientOptions options = new()
        {
            QueuePairs = settings.Queues,
            QueueSize = (ushort)settings.QueueSize,
            BufferSize = settings.InPlace ? Math.Max(settings.PacketSize + VirtioNetHeader.Size, UsualBuffer) : UsualBuffer,
            RingFeatures = RingFeatures(settings),
            IndirectBuffers = settings.Indirect ? 2 : 0,
            Mergeable = settings.Mergeable,
            DetailedStatistics = settings.Statistics,
            HugePages = settings.HugePages ? HugePages.TwoMegabytes : HugePages.None,
            Connect = new VhostUserConnectOptions { RetryFor = settings.Patience },
        };
        await using NetClient net = await ConnectAsync(settings, options, stop);
        if (net.Senders.Count < settings.Queues)
            throw new ToolException(FormattableString.Invariant($"--queues {settings.Queues}: the back-end on '{settings.Socket}' serves only {net.Senders.Count}."));
        IEnumerable<NetBenchPort> ports = net.Senders.Zip(net.Receivers, (sender, receiver) => new NetBenchPort.OfFrontend(sender, receiver));
        return await MeasureAsync(settings, ports, () => net.Frontend.AcknowledgedFeatures, hasGone: static () => false, stop);
    }

    private static async Task<NetClient> ConnectAsync(NetBenchSettings settings, NetClientOptions options, CancellationToken stop)
    {
        string who = settings.Listens ? "a back-end that connects to" : "a back-end that listens on";
        using WaitingNotice notice = new(FormattableString.Invariant($"{who} '{settings.Socket}', for at most {settings.Patience.TotalSeconds} s"));
        if (!settings.Listens)
            return await NetClient.ConnectAsync(settings.Socket, options, stop);
        await using VhostUserListener listener = VhostUserListener.Listen(settings.Socket);
        using CancellationTokenSource late = CancellationTokenSource.CreateLinkedTokenSource(stop);
        late.CancelAfter(settings.Patience);
        try
        {
            return await NetClient.AcceptAsync(listener, options, late.Token);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            throw new ToolException(FormattableString.Invariant(
                $"No back-end connected to '{settings.Socket}' within {settings.Patience.TotalSeconds} s. Start one with --client, or wait longer: --wait SECONDS."));
        }
    }

    private static async Task<NetBenchReport> RunBackendAsync(NetBenchSettings settings, CancellationToken stop)
    {
        NetDevice device = new(new NetDeviceOptions
        {
            QueuePairs = settings.Queues,
            MaxQueueSize = (ushort)BitOperations.RoundUpToPowerOf2((uint)settings.QueueSize),
            Mergeable = settings.Mergeable,
            UnwantedFeatures = (VirtioFeatures.RingPacked | VirtioFeatures.InOrder) & ~RingFeatures(settings),
            DetailedStatistics = settings.Statistics,
        });
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { Dispatch = QueueDispatch.Application });
        using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task serving = settings.Listens ? backend.ListenAsync(settings.Socket, ended.Token) : backend.ConnectAsync(settings.Socket, ended.Token);
        try
        {
            bool HasGone() => serving.IsCompleted || (device.Acknowledged != 0 && !backend.IsConnected);
            return await MeasureAsync(settings, device.Ports.Select(port => new NetBenchPort.OfBackend(port)), () => device.Acknowledged, HasGone, stop);
        }
        finally
        {
            await ended.CancelAsync();
            await serving;
        }
    }

    private static VirtioFeatures RingFeatures(NetBenchSettings settings) =>
        (settings.Packed ? VirtioFeatures.RingPacked : 0) | (settings.InOrder ? VirtioFeatures.InOrder : 0);

    private static async Task<NetBenchReport> MeasureAsync(
        NetBenchSettings settings, IEnumerable<NetBenchPort> ports, Func<VirtioFeatures> features, Func<bool> hasGone, CancellationToken stop)
    {
        using BenchClock clock = new();
        NetBenchPair[] pairs = [.. ports.Select(port => new NetBenchPair(port, settings))];
        NetBenchThread[] threads = [.. Threads(settings, pairs, clock)];
        foreach (NetBenchThread thread in threads)
            thread.Start();
        Measurement measured;
        VirtioFeatures acknowledged;
        try
        {
            measured = Measure(settings, pairs, clock, hasGone, stop);
            acknowledged = features();
            TellWhatIsMissing(RingFeatures(settings) & ~acknowledged);
        }
        finally
        {
            clock.Phase = BenchPhase.Stop;
            await Task.WhenAll(threads.Select(thread => thread.Completion));
        }

        return Report(settings, pairs, measured, acknowledged);
    }

    /// <summary>One for each processor that was named, or for each pair.</summary>
    private static IEnumerable<NetBenchThread> Threads(NetBenchSettings settings, NetBenchPair[] pairs, BenchClock clock)
    {
        int count = settings.Processors.Count == 0 ? pairs.Length : Math.Min(settings.Processors.Count, pairs.Length);
        return Enumerable.Range(0, count).Select(thread => new NetBenchThread(
            [.. pairs.Where((_, index) => index % count == thread)], settings.Processors.Count == 0 ? null : settings.Processors[thread], clock));
    }

    /// <summary>The other side decides too: what is measured may be another ring than was asked for.</summary>
    private static void TellWhatIsMissing(VirtioFeatures missing)
    {
        if (missing.HasFlag(VirtioFeatures.RingPacked))
            ToolOutput.PrintNotice("asked for a packed ring, got a split one: the other side does not take it. Give --ring packed on both sides.");
        if (missing.HasFlag(VirtioFeatures.InOrder))
            ToolOutput.PrintNotice("asked for IN_ORDER and did not get it: the other side does not take it. Give --in-order on both sides.");
    }

    private static Measurement Measure(NetBenchSettings settings, NetBenchPair[] pairs, BenchClock clock, Func<bool> hasGone, CancellationToken stop)
    {
        WaitHandle[] interruptions = [stop.WaitHandle, clock.Failed];
        WaitForTraffic(settings, pairs, hasGone, interruptions, stop);
        WaitHandle.WaitAny(interruptions, _warmUp);
        AllocationSteps allocated = new((int)(TimeSpan.FromSeconds(settings.Seconds + 1) / _step));
        Moment start = Moment.Now(pairs);
        clock.Phase = BenchPhase.Measure;
        Moment end = start;
        TimeSpan left = TimeSpan.FromSeconds(settings.Seconds);
        for (; left > TimeSpan.Zero; left -= _step)
        {
            if (WaitHandle.WaitAny(interruptions, left < _step ? left : _step) != WaitHandle.WaitTimeout)
                break;
            Moment now = Moment.Now(pairs);
            allocated.Add(now.Allocated - end.Allocated, now.Figures.Packets - end.Figures.Packets);
            end = now;
        }

        // What a peer that leaves costs is no part of the measurement, unless there is nothing else.
        if (end.Ticks == start.Ticks)
        {
            end = Moment.Now(pairs);
            allocated.Add(end.Allocated - start.Allocated, end.Figures.Packets - start.Figures.Packets);
        }

        return start.Until(end, allocated.PerOperation);
    }

    /// <summary>Waits for the other side, and then for the first packet: the time for that begins when the queues are started.</summary>
    private static void WaitForTraffic(NetBenchSettings settings, NetBenchPair[] pairs, Func<bool> hasGone, WaitHandle[] interruptions, CancellationToken stop)
    {
        bool sends = settings.Mode == NetMode.TxOnly;
        bool Here() => pairs.Any(pair => pair.IsUp);
        using (WaitingNotice notice = new($"a {settings.PeerName} on '{settings.Socket}' that starts its queues"))
            Look(Here, Timeout.InfiniteTimeSpan);
        using (WaitingNotice notice = new(sends ? $"the {settings.PeerName} to give room for packets" : $"the {settings.PeerName} to send packets"))
            Look(() => Sum(pairs).Packets > 0, settings.Patience);
        if (Sum(pairs).Packets > 0)
            return;
        stop.ThrowIfCancellationRequested();
        throw new ToolException(hasGone() || !Here()
            ? $"No packet passed on '{settings.Socket}': the other side has gone, or never came."
            : FormattableString.Invariant(
                $"No packet passed on '{settings.Socket}' within {settings.Patience.TotalSeconds} s: the {settings.PeerName} is there, but {(sends ? "gives no room for packets" : "sends none")}. Wait longer: --wait SECONDS."));

        void Look(Func<bool> holds, TimeSpan longest)
        {
            long began = Stopwatch.GetTimestamp();
            while (!holds() && Sum(pairs).Packets == 0 && !hasGone() && (longest == Timeout.InfiniteTimeSpan || Stopwatch.GetElapsedTime(began) < longest))
            {
                if (WaitHandle.WaitAny(interruptions, LookMilliseconds) != WaitHandle.WaitTimeout)
                    return;
            }
        }
    }

    private static NetBenchFigures Sum(NetBenchPair[] pairs)
    {
        NetBenchFigures sum = default;
        foreach (NetBenchPair pair in pairs)
            sum += pair.Figures;
        return sum;
    }

    private static NetBenchReport Report(NetBenchSettings settings, NetBenchPair[] pairs, in Measurement measured, VirtioFeatures acknowledged)
    {
        NetBenchSample sample = default;
        foreach (NetBenchPair pair in pairs)
            sample += pair.Verify();

        NetBenchFigures figures = measured.Figures;
        return new NetBenchReport
        {
            Role = settings.RoleName,
            Mode = settings.ModeName,
            Ring = RingName(acknowledged),
            Size = settings.PacketSize,
            Burst = settings.Burst,
            Queues = settings.Queues,
            Features = string.Join(' ', FeatureList.Of((ulong)acknowledged, FeatureNames.OfNetBit)),
            Packets = figures.Packets,
            Seconds = Rounding.ToThousandths(measured.Seconds),
            Mpps = Rounding.ToThousandths(figures.Packets / measured.Seconds / 1e6),
            Bytes = figures.Bytes,
            EmptyPollsPercent = Rounding.ToThousandths(100.0 * figures.EmptyPolls / Math.Max(figures.Polls, 1)),
            Verified = sample.Sound,
            Bad = sample.Bad,
            Astray = sample.Astray,
            AllocatedBytes = measured.Allocated,
            AllocatedBytesPerPacket = measured.AllocatedPerPacket,
        };
    }

    /// <summary>What became of the wishes of both sides.</summary>
    private static string RingName(VirtioFeatures acknowledged) =>
        ((acknowledged & VirtioFeatures.RingPacked) != 0 ? "packed" : "split")
        + ((acknowledged & VirtioFeatures.InOrder) != 0 ? "-inorder" : "")
        + (((ulong)acknowledged & (ulong)VirtioNetFeatures.MergeableBuffers) != 0 ? "-mergeable" : "");

    private readonly record struct Measurement(NetBenchFigures Figures, double Seconds, long Allocated, decimal AllocatedPerPacket);

    private readonly record struct Moment(NetBenchFigures Figures, long Ticks, long Allocated)
    {
        internal static Moment Now(NetBenchPair[] pairs) => new(Sum(pairs), Stopwatch.GetTimestamp(), GC.GetTotalAllocatedBytes(precise: true));

        internal Measurement Until(Moment end, decimal allocatedPerPacket) =>
            new(end.Figures - Figures, Stopwatch.GetElapsedTime(Ticks, end.Ticks).TotalSeconds, end.Allocated - Allocated, allocatedPerPacket);
    }
}
