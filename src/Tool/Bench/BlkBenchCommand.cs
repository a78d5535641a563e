using System.CommandLine;

namespace Vhost.Tool;

/// <summary><c>vhost-user blk bench</c>: measures rate, latency and allocation.</summary>
internal static class BlkBenchCommand
{
    private const int MostDepth = 8192;
    private const int MostBlockSize = 16 << 20;
    private const int DefaultBlockSize = 4096;

    internal static Command Build()
    {
        Option<string> socket = ToolOptions.Socket();
        Option<string> rw = new("--rw") { Description = "What to do to the disk; the writing ones DESTROY its content.", DefaultValueFactory = _ => "randread" };
        rw.AcceptOnlyFromAmong("randread", "randwrite", "read", "write");
        Option<int> depth = ToolOptions.Number("--queue-depth", "Requests in flight on each queue; the back-end must take rings of three times as many entries, rounded up to a power of two.", 1, MostDepth, 1);
        Option<ulong?> blockSize = BlockSize();
        Option<int> queues = ToolOptions.Number("--queues", "Queues to use.", 1, 256, 1);
        Option<int> seconds = ToolOptions.Number("--seconds", "Length of the measured interval.", 1, 3600, 3);
        Option<bool> poll = new("--poll") { Description = "Poll each queue from a thread of its own instead of waiting for notifications." };
        Option<int[]> processors = ToolOptions.Processors("With --poll each queue's thread is bound to one of these processors, in turn; without, the command runs on these alone.");
        Option<bool> json = ToolOptions.Json();
        Command command = new("bench", "Measure rate, latency and allocation.") { socket, rw, depth, blockSize, queues, seconds, poll, processors, json };
        command.SetAction((line, stop) => RunAsync(
            new BenchSettings
            {
                Socket = line.GetRequiredValue(socket),
                Pattern = Enum.Parse<AccessPattern>(line.GetRequiredValue(rw), ignoreCase: true),
                QueueDepth = line.GetValue(depth),
                BlockSize = (int)(line.GetValue(blockSize) ?? DefaultBlockSize),
                Queues = line.GetValue(queues),
                Seconds = line.GetValue(seconds),
                Poll = line.GetValue(poll),
                Processors = line.GetRequiredValue(processors),
            },
            line.GetValue(json),
            stop));
        return command;
    }

    private static Option<ulong?> BlockSize()
    {
        Option<ulong?> option = ToolOptions.Size("--block-size", "Bytes of a request; 4096 when not given.");
        option.Validators.Add(result =>
        {
            if (result.Tokens is [var token, ..] && SizeText.TryParse(token.Value, out ulong size) && (size == 0 || size % 512 != 0 || size > MostBlockSize))
                result.AddError("--block-size: must be a multiple of 512 up to 16M.");
        });
        return option;
    }

    private static async Task<int> RunAsync(BenchSettings settings, bool json, CancellationToken stop)
    {
        // The threads of the runtime's pool are started by threads that this one starts, and stay on its processors.
        if (!settings.Poll && settings.Processors.Count > 0)
            ProcessorBinding.BindThread(settings.Processors);
        ToolOutput.TellWaiting(FormattableString.Invariant($"measuring for {settings.Seconds} s, after a warm-up"), quiet: json);
        BenchReport report = await Task.Run(() => BenchRun.RunAsync(settings, stop), CancellationToken.None);
        if (json)
            ToolOutput.PrintJson(report, ToolJson.Default.BenchReport);
        else
            ToolOutput.PrintTable($"Benchmark of {settings.Socket}", report.Rows());
        return 0;
    }
}
