using System.Globalization;
using System.Text.Json;

namespace Vhost.Bench.Compare;

/// <summary>
/// <c>scale/regions/&lt;n&gt;</c>: 4 KiB reads from our null device, depth 32, polled, with buffers spread over that many regions of memory; all one right after the
/// other. <c>scale/regions/spread</c> says how much slower the slowest is.
/// </summary>
internal sealed class RegionContest : Contest
{
    private static readonly int[] _counts = [1, 64, 509];
    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(60);

    internal override IReadOnlyList<RowPlan> Rows { get; } =
    [
        .. _counts.Select(count => new RowPlan(NameOf(count), Units.MillionRequests, HasPeer: false)),
        new RowPlan("scale/regions/spread", Units.FastestToSlowest, HasPeer: false),
    ];

    internal override bool IsQuick => false;

    internal override async Task<Sample> RunOursAsync(Workbench bench)
    {
        Dictionary<string, double> rates = new(StringComparer.Ordinal);
        string command = "";
        foreach (int count in _counts)
            (rates[NameOf(count)], command) = await RunOursAsync(bench, count);
        bench.Log("  " + string.Join(", ", rates.Select(rate => string.Create(CultureInfo.InvariantCulture, $"{rate.Key} {rate.Value:0.000}"))));
        return new Sample(rates.Values.Max() / rates.Values.Min(), command) { Parts = rates };
    }

    internal override Task<Sample> RunPeerAsync(Workbench bench) => throw new NotSupportedException("These rows have no peer.");

    private static async Task<(double Rate, string Command)> RunOursAsync(Workbench bench, int count)
    {
        string socket = bench.NewPath(".s");

        // Only the thread that polls is bound: with it on their processor, the threads that take hundreds of regions in would wait for each.
        string cpu = bench.Options.BackendProcessor.ToString(CultureInfo.InvariantCulture);
        await using Ours server = await Ours.ServeAsync(bench, null, "serve", "blk", "--socket-path", socket, "--null", "1G", "--poll", "--cpu", cpu, "--json");
        await using Ours frontend = Ours.StartControl(
            bench,
            bench.Options.FrontendProcessor,
            "regions", "--socket", socket, "--regions", count.ToString(CultureInfo.InvariantCulture),
            "--seconds", bench.Options.Seconds.ToString(CultureInfo.InvariantCulture));
        JsonElement result = await frontend.ResultAsync(_deadline);
        await server.StopAsync();
        if (result.Figure("regions") != count)
            throw new BenchException(string.Create(CultureInfo.InvariantCulture, $"'{frontend.Command}' used {result.Figure("regions")} regions."));
        return (result.Figure("requests_per_second") / 1e6, $"{server.Command} & {frontend.Command}");
    }

    private static string NameOf(int count) => string.Create(CultureInfo.InvariantCulture, $"scale/regions/{count}");
}
