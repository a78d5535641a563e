using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>Runs contests one after the other, ours and the peer's in turn, and collects their rows.</summary>
internal sealed class Suite(Workbench bench, IReadOnlyList<Contest> contests, Action<IReadOnlyList<Row>> onProgress)
{
    private const int MostAttempts = 4;
    private const int MostQuickAttempts = 2;

    private static readonly string[] _areas = ["net", "blk"];

    private readonly Distance _distance = new(bench.Options.BackendProcessor, bench.Options.FrontendProcessor);
    private readonly List<Row> _rows = [];
    private readonly Dictionary<string, List<Sample>> _samples = new(StringComparer.Ordinal);

    /// <summary>All contests there are, in the order of the table.</summary>
    internal static IEnumerable<Contest> All(bool quick) =>
        [.. PacketContest.All, .. BlockContest.All(quick), .. ControlContest.All, new CrowdContest(), new RegionContest(), .. PacketScaleContest.All];

    /// <summary>Contests with a row that is wanted: those of a quick look, all, or those that were named.</summary>
    internal static IReadOnlyList<Contest> Wanted(CompareOptions options) =>
        [.. All(options.Quick).Where(contest => (contest.IsQuick || !options.Quick || options.Only.Count > 0) && contest.Rows.Any(row => options.Wants(row.Name)))];

    internal async Task<IReadOnlyList<Row>> RunAsync(CancellationToken stop)
    {
        for (int i = 0; i < contests.Count && !stop.IsCancellationRequested; i++)
        {
            Say(string.Create(CultureInfo.InvariantCulture, $"[{i + 1}/{contests.Count}] {contests[i].Rows[0].Name}"));
            await RunAsync(contests[i], stop);
            onProgress(Complete());
        }

        return Complete();
    }

    private async Task RunAsync(Contest contest, CancellationToken stop)
    {
        RowPlan[] plans = [.. contest.Rows.Where(row => bench.Options.Wants(row.Name))];
        bool compares = plans.Any(plan => plan.HasPeer);
        List<Sample> ours = new();
        List<Sample> peers = new();
        List<double> distances = new();
        List<double> others = new();
        int unsteady = 0;
        try
        {
            if (compares)
                await contest.PrepareAsync(bench);
            int rounds = bench.Options.Rounds(contest.Rounds);
            for (int round = 0; round < rounds && !stop.IsCancellationRequested; round++)
            {
                OtherLoad load = new();
                Round done = await RunRoundAsync(contest, plans[0], compares);
                others.Add(Noticed(load.Processors()));
                ours.Add(done.Ours);
                if (done.Peer is not null)
                    peers.Add(done.Peer);
                distances.Add(Quantiles.Of(done.Distances).Median);
                unsteady += Distance.IsSteady(done.Distances) ? 0 : 1;
            }
        }
        catch (Exception failure) when (failure is BenchException or TimeoutException or InvalidOperationException or IOException or FormatException)
        {
            Say($"  FAILED: {failure.Message}");
            _rows.AddRange(plans.Select(plan => Row.Failed(plan, failure.Message, peers.LastOrDefault()?.Command)));
            return;
        }

        if (stop.IsCancellationRequested)
            return;
        foreach ((Sample our, Sample peer) in ours.Zip(peers).Where(round => !Sample.AgreedTheSame(round.First, round.Second)).Take(1))
            Say($"  not the same features of rings: ours {our.RingFeatures}; the peer's {peer.RingFeatures}");
        _samples[contest.Rows[0].Name] = ours;
        double line = Math.Round(Quantiles.Of(distances).Median);
        _rows.AddRange(plans.Select(plan => Row.From(plan, ours, peers) with { LineNs = line, Unsteady = unsteady, Others = Quantiles.Of(others).Median }));
    }

    private double Noticed(double others)
    {
        if (others > OtherLoad.Tolerable)
            Say(string.Create(CultureInfo.InvariantCulture, $"  WARNING: others kept {others:0.00} processors busy meanwhile"));
        return others;
    }

    /// <summary>Neighbouring runs. When the processors moved meanwhile they are run again, a few times at most.</summary>
    private async Task<Round> RunRoundAsync(Contest contest, RowPlan plan, bool compares)
    {
        for (int attempt = 1; ; attempt++)
        {
            List<double> distances = [_distance.Measure()];
            Sample ours = Noted("ours", await contest.RunOursAsync(bench), plan);
            distances.Add(_distance.Measure());
            Sample? peer = null;
            if (compares)
            {
                peer = Noted("peer", await contest.RunPeerAsync(bench), plan);
                distances.Add(_distance.Measure());
            }

            string nanoseconds = string.Join(", ", distances.Select(distance => distance.ToString("0", CultureInfo.InvariantCulture)));
            bench.Log($"  cache line there and back: {nanoseconds} ns");
            if (Distance.IsSteady(distances) || attempt == (bench.Options.Quick ? MostQuickAttempts : MostAttempts))
                return new Round(ours, peer, distances);
            Say($"  the processors moved (cache line there and back {nanoseconds} ns): again");
        }
    }

    /// <summary>The rows so far and those that follow from several of them.</summary>
    private IReadOnlyList<Row> Complete()
    {
        IEnumerable<Row?> derived = _areas.Select(Allocated);
        return [.. _rows, .. derived.OfType<Row>()];
    }

    /// <summary>Bytes allocated for a packet or request, of both sides, in the worst of all runs of ours.</summary>
    private Row? Allocated(string area)
    {
        double[] all =
        [
            .. _samples.Where(entry => entry.Key.StartsWith(area + "/", StringComparison.Ordinal)).SelectMany(entry => entry.Value)
                .Select(sample => sample.Allocated).OfType<double>(),
        ];
        return all.Length == 0 ? null : Row.From(new RowPlan("allocated/" + area, Units.Bytes, HasPeer: false), [new Sample(all.Max(), "")], []) with { Rounds = all.Length };
    }

    private Sample Noted(string who, Sample sample, RowPlan plan)
    {
        string empty = sample.EmptyPolls is { } share ? string.Create(CultureInfo.InvariantCulture, $", {share:0.0} % of looks empty") : "";
        string features = sample.Features is { } agreed ? $", {agreed}" : "";
        Say(string.Create(CultureInfo.InvariantCulture, $"  {who}: {sample.Of(plan):0.000} {plan.Unit}{empty}{features}"));
        return sample;
    }

    private void Say(string text)
    {
        bench.Log(text);
        Console.Error.WriteLine(text);
    }

    /// <summary>Neighbouring runs, and what a cache line took before, between and after them.</summary>
    private sealed record Round(Sample Ours, Sample? Peer, IReadOnlyList<double> Distances);
}
