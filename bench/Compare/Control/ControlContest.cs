using System.Globalization;
using System.Text.Json;

namespace Vhost.Bench.Compare;

/// <summary>
/// What happens beside the data path, by our front-end, with our block back-end and with qemu-storage-daemon: <c>control/messages</c> (GET_FEATURES
/// and its reply), <c>control/handshake</c> (from connecting to the first answered request), <c>control/reconnect</c> (from leaving in the middle of
/// requests to the next answered request).
/// </summary>
internal sealed class ControlContest : Contest
{
    private static readonly string[] _what = ["messages", "handshake", "reconnect"];
    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(60);

    /// <summary>With requests that end at once, like those of the null device of ours.</summary>
    private static readonly StorageDaemonCommand _peer = new("driver=null-co,size=1073741824");

    private readonly string _name;

    private ControlContest(string name)
    {
        _name = name;
        Rows = [new RowPlan("control/" + name, Units.Microseconds)];
    }

    internal static IEnumerable<Contest> All => _what.Select(name => new ControlContest(name));

    internal override IReadOnlyList<RowPlan> Rows { get; }

    internal override bool IsQuick => false;

    internal override async Task<Sample> RunOursAsync(Workbench bench)
    {
        string socket = bench.NewPath(".s");
        await using Ours server = await Ours.ServeAsync(bench, bench.Options.BackendProcessor, "serve", "blk", "--socket-path", socket, "--null", "1G");
        return await MeasureAsync(bench, socket, server.Command);
    }

    internal override async Task<Sample> RunPeerAsync(Workbench bench)
    {
        string socket = bench.NewPath(".s");
        await using StorageDaemonProcess daemon = await StorageDaemonProcess.StartAsync(bench, _peer, socket);
        return await MeasureAsync(bench, socket, daemon.Command);
    }

    private async Task<Sample> MeasureAsync(Workbench bench, string socket, string serverCommand)
    {
        await using Ours frontend = Ours.StartControl(
            bench,
            bench.Options.FrontendProcessor,
            _name, "--socket", socket, "--seconds", bench.Options.Seconds.ToString(CultureInfo.InvariantCulture));
        JsonElement result = await frontend.ResultAsync(_deadline);
        return new Sample(result.Figure("median_us"), serverCommand);
    }
}
