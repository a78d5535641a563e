using System.Globalization;
using System.Text.Json;

namespace Vhost.Bench.Compare;

/// <summary>Runs of random 4 KiB reads by our polling front-end.</summary>
internal static class BlockRuns
{
    private const double Million = 1e6;

    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(30);

    /// <summary>Our back-end.</summary>
    internal static async Task<Sample> OursAsync(Workbench bench, BlockStorage storage, int depth, bool direct)
    {
        string socket = bench.NewPath(".s");
        await using Ours server = await Ours.ServeAsync(
            bench, bench.Options.BackendProcessor, ["serve", "blk", "--socket-path", socket, .. storage.OurArguments(bench, direct), "--poll", "--json"]);
        (double rate, double allocated, string command) = await DriveAsync(bench, socket, depth, bench.Options.Seconds);
        JsonElement served = await server.StopAsync();
        double servedAllocated = served.Figure("allocated_bytes_per_op");
        bench.Log(string.Create(CultureInfo.InvariantCulture, $"  bytes allocated for a request: front-end {allocated}, back-end {servedAllocated}"));
        return new Sample(Figure(rate, depth), $"{server.Command} & {command}") { Allocated = Math.Max(allocated, servedAllocated) };
    }

    /// <summary>The peer's back-end.</summary>
    internal static async Task<Sample> PeerAsync(Workbench bench, StorageDaemonCommand command, int depth, int seconds)
    {
        string socket = bench.NewPath(".s");
        await using StorageDaemonProcess daemon = await StorageDaemonProcess.StartAsync(bench, command, socket);
        (double rate, _, _) = await DriveAsync(bench, socket, depth, seconds);
        return new Sample(Figure(rate, depth), daemon.Command);
    }

    /// <summary>One request at a time is about time, many are about their number.</summary>
    internal static string Unit(int depth) => depth == 1 ? Units.Microseconds : Units.MillionRequests;

    private static double Figure(double rate, int depth) => depth == 1 ? Million / rate : rate / Million;

    private static async Task<(double Rate, double Allocated, string Command)> DriveAsync(Workbench bench, string socket, int depth, int seconds)
    {
        await using Ours frontend = Ours.StartTool(
            bench,
            bench.Options.FrontendProcessor,
            "blk", "bench", "--socket", socket, "--rw", "randread", "--block-size", "4096", "--queue-depth", depth.ToString(CultureInfo.InvariantCulture),
            "--seconds", seconds.ToString(CultureInfo.InvariantCulture), "--poll", "--json");
        JsonElement result = await frontend.ResultAsync(_deadline + TimeSpan.FromSeconds(seconds));
        return (result.Figure("operations") / result.Figure("seconds"), result.Figure("allocated_bytes_per_op"), frontend.Command);
    }
}
