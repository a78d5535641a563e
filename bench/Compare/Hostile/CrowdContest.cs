using System.Globalization;
using System.Text.Json;

namespace Vhost.Bench.Compare;

/// <summary>
/// <c>hostile/front-ends/64</c>: one process of ours serves 65 disks. Polled 4 KiB reads of the last one, depth 32, while 64 front-ends send bad messages to the others, a hundred a second each,
/// and connect again when they are thrown out; compared with the same beside 64 that behave and send as many good ones.
/// </summary>
internal sealed class CrowdContest : Contest
{
    private const int FrontEnds = 64;

    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(60);

    internal override IReadOnlyList<RowPlan> Rows { get; } = [new RowPlan("hostile/front-ends/64", Units.MillionRequests)];

    internal override bool IsQuick => false;

    internal override Task<Sample> RunOursAsync(Workbench bench) => MeasureAsync(bench, "--bad");

    internal override Task<Sample> RunPeerAsync(Workbench bench) => MeasureAsync(bench, "--good");

    private static async Task<Sample> MeasureAsync(Workbench bench, string manners)
    {
        string prefix = bench.NewPath("-");
        string[] sockets = [.. Enumerable.Range(0, FrontEnds + 1).Select(i => string.Create(CultureInfo.InvariantCulture, $"{prefix}{i}"))];
        string cpu = bench.Options.BackendProcessor.ToString(CultureInfo.InvariantCulture);
        await using Ours server = Ours.StartTool(
            bench, null, ["serve", "blk", "--null", "1G", "--threads", "1", "--poll", "--cpu", cpu, "--json", .. sockets.SelectMany(socket => (string[])["--socket-path", socket])]);
        foreach (string socket in sockets)
            await server.ListensAsync(socket);
        await using Ours crowd = Ours.StartControl(bench, null, "crowd", "--socket", prefix, "--count", FrontEnds.ToString(CultureInfo.InvariantCulture), manners);
        await crowd.SaysAsync("the crowd is there");
        await using Ours frontend = Ours.StartTool(
            bench, bench.Options.FrontendProcessor, "blk", "bench", "--socket", sockets[^1], "--queue-depth", "32", "--block-size", "4096", "--poll",
            "--seconds", bench.Options.Seconds.ToString(CultureInfo.InvariantCulture), "--json");
        JsonElement result = await frontend.ResultAsync(_deadline);
        JsonElement said = await crowd.StopAsync();
        await server.StopAsync();
        bench.Log("  " + said.GetRawText());
        Require(said, manners == "--bad");
        return new Sample(result.Figure("iops") / 1e6, $"{frontend.Command} & {crowd.Command}");
    }

    /// <summary>The crowd did what it is for.</summary>
    private static void Require(JsonElement said, bool bad)
    {
        if (said.Figure("messages_per_second") < 0.9 * FrontEnds * 100)
            throw new BenchException($"The crowd sent too few messages: {said.GetRawText()}");
        if (bad ? said.Figure("thrown_out_per_second") == 0 : said.Figure("thrown_out_per_second") > 0 || said.Figure("answered_per_second") == 0)
            throw new BenchException($"The crowd did not behave as it should: {said.GetRawText()}");
    }
}
