using System.Globalization;
using System.Text.Json;

namespace Vhost.Bench.Compare;

/// <summary>
/// <c>scale/regions/&lt;n&gt;</c>: 4 KiB reads from our null device, depth 32, polled, with buffers spread over that many regions of memory.
/// Once all are measured <c>scale/regions/spread</c> says how much slower the slowest is.
/// </summary>
internal sealed class RegionContest : Contest
{
    internal const string SpreadName = "scale/regions/spread";

    private static readonly int[] _counts = [1, 64, 509];
    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(60);

    private readonly int _count;

    private RegionContest(int count)
    {
        _count = count;
        Rows = [new RowPlan(NameOf(count), Units.MillionRequests, HasPeer: false)];
    }

    internal override IReadOnlyList<RowPlan> Rows { get; }

    internal override bool IsQuick => false;

    internal static IEnumerable<Contest> All => _counts.Select(count => new RegionContest(count));

    /// <summary>The row about all of them; null when one is missing.</summary>
    internal static Row? Spread(IReadOnlyList<Row> rows)
    {
        double[] figures = [.. _counts.Select(NameOf).Select(name => rows.FirstOrDefault(row => row.Name == name)?.Ours).OfType<double>()];
        return figures.Length < _counts.Length
            ? null
            : Row.From(new RowPlan(SpreadName, Units.FastestToSlowest, HasPeer: false), [new Sample(figures.Max() / figures.Min(), "")], []);
    }

    internal override async Task<Sample> RunOursAsync(Workbench bench)
    {
        string socket = bench.NewPath(".s");

        // Only the thread that polls is bound: with it on their processor, the threads that take hundreds of regions in would wait for each.
        string cpu = bench.Options.BackendProcessor.ToString(CultureInfo.InvariantCulture);
        await using Ours server = await Ours.ServeAsync(bench, null, "serve", "blk", "--socket-path", socket, "--null", "1G", "--poll", "--cpu", cpu, "--json");
        await using Ours frontend = Ours.StartControl(
            bench,
            bench.Options.FrontendProcessor,
            "regions", "--socket", socket, "--regions", _count.ToString(CultureInfo.InvariantCulture),
            "--seconds", bench.Options.Seconds.ToString(CultureInfo.InvariantCulture));
        JsonElement result = await frontend.ResultAsync(_deadline);
        await server.StopAsync();
        return new Sample(result.Figure("requests_per_second") / 1e6, $"{server.Command} & {frontend.Command}");
    }

    internal override Task<Sample> RunPeerAsync(Workbench bench) => throw new NotSupportedException("These rows have no peer.");

    private static string NameOf(int count) => string.Create(CultureInfo.InvariantCulture, $"scale/regions/{count}");
}
