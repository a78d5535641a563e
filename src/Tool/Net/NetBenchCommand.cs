using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary><c>vhost-user net bench</c>: one side of a network device at full speed.</summary>
internal static class NetBenchCommand
{
    private static readonly Option<string> _role = Choice("--role", "Which side to be.", required: true, "front-end", "back-end");
    private static readonly Option<string> _mode = Choice(
        "--mode", "txonly builds and sends numbered packets, rxonly receives, io sends back, mac sends back with addresses exchanged; these two wait while the other side takes nothing.", required: true, "txonly", "rxonly", "io", "mac");
    private static readonly Option<string> _socket = ToolOptions.Path("--socket", "The socket.", required: true);
    private static readonly Option<bool> _client = new("--client") { Description = "Connect to the socket (what a front-end does by itself)." };
    private static readonly Option<bool> _server = new("--server") { Description = "Listen on the socket (what a back-end does by itself)." };
    private static readonly Option<bool> _inPlace = new("--in-place") { Description = "The packets of txonly are built where a back-end reads them, instead of being copied there." };
    private static readonly Option<bool> _lend = new("--lend") { Description = "The packets that rxonly receives stay where they lie, instead of being copied out." };
    private static readonly Option<int> _size = ToolOptions.Number("--size", "Bytes of the packets that txonly sends.", NumberedPacket.Shortest, 65535, 64);
    private static readonly Option<int> _burst = ToolOptions.Number("--burst", "Packets of a burst.", 1, 1024, 32);
    private static readonly Option<string> _ring = Choice("--ring", "Format of the rings.", required: false, "split", "packed");
    private static readonly Option<bool> _mergeable = new("--mergeable") { Description = "Use mergeable receive buffers." };
    private static readonly Option<bool> _inOrder = new("--in-order") { Description = "Use buffers in order." };
    private static readonly Option<bool> _indirect = new("--indirect") { Description = "A front-end asks for INDIRECT_DESC, as most drivers do; packets of one buffer do not use it." };
    private static readonly Option<int> _queues = ToolOptions.Number("--queues", "Pairs of queues. Each has a thread, or with --cpu those of a processor share one.", 1, 127, 1);
    private static readonly Option<int> _queueSize = ToolOptions.Number("--ring-size", "Entries of each ring: a front-end makes them, a back-end takes none that are larger.", 2, 32768, 256);
    private static readonly Option<int> _seconds = ToolOptions.Number("--seconds", "Length of the measured interval, which begins half a second after the first packet.", 1, 3600, 3);
    private static readonly Option<int> _wait = ToolOptions.Number("--wait", "Seconds to wait for a back-end, and for the first packet once the other side is there; a back-end waits for a front-end as long as it takes.", 1, 3600, 60);
    private static readonly Option<bool> _statistics = new("--statistics") { Description = "Count size classes and multicast as well." };
    private static readonly Option<bool> _hugePages = new("--huge-pages") { Description = "Put the shared memory of a front-end on huge pages of 2 MiB, which must be reserved." };
    private static readonly Option<int[]> _processors = ToolOptions.Processors("One thread on each of these processors serves its share of the pairs of queues, a burst each in turn; all else runs on the first.");
    private static readonly Option<bool> _json = ToolOptions.Json();

    internal static Command Build()
    {
        Command command = new("bench", "Measure packets: start one side here, and the other one or another program's elsewhere. Ends after its time, or when the other side goes.")
        {
            _role, _mode, _socket, _client, _server, _inPlace, _lend, _size, _burst, _ring, _mergeable, _inOrder, _indirect, _queues, _queueSize, _seconds, _wait, _statistics, _hugePages, _processors, _json,
        };
        command.Validators.Add(Check);
        command.SetAction((line, stop) => RunAsync(Read(line), line.GetValue(_json), stop));
        return command;
    }

    private static async Task<int> RunAsync(NetBenchSettings settings, bool json, CancellationToken stop)
    {
        // Threads of the runtime are started by threads that this one starts, and stay on its processor instead of the peer's.
        if (settings.Processors.Count > 0)
            ProcessorBinding.BindThread([settings.Processors[0]]);
        NetBenchReport report = await Task.Run(() => NetBenchRun.RunAsync(settings, stop), CancellationToken.None);
        if (json)
            ToolOutput.PrintJson(report, ToolJson.Default.NetBenchReport);
        else
            ToolOutput.PrintTable($"Benchmark on {settings.Socket}", report.Rows());
        return report.Bad == 0 ? 0 : 1;
    }

    private static NetBenchSettings Read(ParseResult line)
    {
        NetRole role = line.GetRequiredValue(_role) == "front-end" ? NetRole.FrontEnd : NetRole.BackEnd;
        return new NetBenchSettings
        {
            Role = role,
            Mode = Enum.Parse<NetMode>(line.GetRequiredValue(_mode), ignoreCase: true),
            Socket = line.GetRequiredValue(_socket),
            Listens = role == NetRole.FrontEnd ? line.GetValue(_server) : !line.GetValue(_client),
            InPlace = line.GetValue(_inPlace),
            Lends = line.GetValue(_lend),
            PacketSize = line.GetValue(_size),
            Burst = line.GetValue(_burst),
            Packed = line.GetValue(_ring) == "packed",
            Mergeable = line.GetValue(_mergeable),
            InOrder = line.GetValue(_inOrder),
            Indirect = line.GetValue(_indirect),
            Queues = line.GetValue(_queues),
            QueueSize = line.GetValue(_queueSize),
            Seconds = line.GetValue(_seconds),
            Patience = TimeSpan.FromSeconds(line.GetValue(_wait)),
            Statistics = line.GetValue(_statistics),
            HugePages = line.GetValue(_hugePages),
            Processors = line.GetRequiredValue(_processors),
        };
    }

    private static void Check(CommandResult result)
    {
        if (result.GetResult(_client) is { Implicit: false } && result.GetResult(_server) is { Implicit: false })
            result.AddError("Give --client or --server, not both.");
        if (result.GetResult(_inPlace) is { Implicit: false } && (Word(result, _role) != "front-end" || Word(result, _mode) != "txonly"))
            result.AddError("--in-place is for --role front-end --mode txonly.");
        if (result.GetResult(_inPlace) is { Implicit: false } && int.TryParse(Word(result, _burst), NumberStyles.None, CultureInfo.InvariantCulture, out int packets) && packets > OutgoingBurst.MaxCount)
            result.AddError(FormattableString.Invariant($"--burst '{packets}': a burst that is built in place has at most {OutgoingBurst.MaxCount} packets."));
        if (result.GetResult(_lend) is { Implicit: false } && Word(result, _mode) != "rxonly")
            result.AddError("--lend is for --mode rxonly.");
        if (Word(result, _role) == "front-end" && Word(result, _ring) != "packed"
            && int.TryParse(Word(result, _queueSize), NumberStyles.None, CultureInfo.InvariantCulture, out int entries) && !int.IsPow2(entries))
        {
            result.AddError(FormattableString.Invariant($"--ring-size '{entries}': the driver of a split ring needs a power of two."));
        }
    }

    /// <summary>The option's value as written, which may be nonsense that its own parser reports; null when it is absent.</summary>
    private static string? Word(CommandResult result, Option option) => result.GetResult(option) is { Implicit: false, Tokens: [var token, ..] } ? token.Value : null;

    private static Option<string> Choice(string name, string description, bool required, params string[] values)
    {
        Option<string> option = new(name) { Description = description, Required = required };
        if (!required)
            option.DefaultValueFactory = _ => values[0];
        option.AcceptOnlyFromAmong(values);
        return option;
    }
}
