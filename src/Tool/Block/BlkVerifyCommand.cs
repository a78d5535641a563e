using System.CommandLine;
using System.Diagnostics;
using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary>What <c>blk verify --json</c> prints.</summary>
internal sealed record VerifyReport
{
    public required string Socket { get; init; }

    public required ulong Offset { get; init; }

    public required ulong BytesVerified { get; init; }

    public required int Seed { get; init; }

    /// <summary>Queues that carried data; fewer than asked for where the back-end has fewer, or the range fewer blocks.</summary>
    public required int Queues { get; init; }

    public required int QueuesAsked { get; init; }

    public required decimal Seconds { get; init; }

    internal string ToText()
    {
        string queues = Queues == QueuesAsked ? $"{Queues}" : $"{Queues} (of {QueuesAsked} asked)";
        return FormattableString.Invariant($"verified {BytesVerified} bytes at offset {Offset} in {Seconds} s, queues used: {queues}");
    }
}

/// <summary><c>vhost-user blk verify</c>: writes a seeded pattern, reads it back and compares. Destroys what is there.</summary>
internal static class BlkVerifyCommand
{
    private const ulong UsualLength = 64 << 20;

    internal static Command Build()
    {
        Option<string> socket = ToolOptions.Socket();
        Option<ulong?> offset = ToolOptions.Size("--offset", "First byte to use; 0 when not given.");
        Option<ulong?> length = ToolOptions.Size("--length", "How much to use; the disk, but at most 64M, when not given.");
        Option<int> seed = ToolOptions.Number("--seed", "Seed of the pattern.", 0, int.MaxValue, 1);
        Option<int> queues = ToolOptions.Number("--queues", "Queues to use.", 1, 256, 1);
        Option<bool> json = ToolOptions.Json();
        Command command = new("verify", "Write a seeded pattern over the disk, read it back and compare. DESTROYS what is there.") { socket, offset, length, seed, queues, json };
        command.SetAction((line, stop) => RunAsync(
            line.GetRequiredValue(socket), line.GetValue(offset) ?? 0, line.GetValue(length), line.GetValue(seed), line.GetValue(queues), line.GetValue(json), stop));
        return command;
    }

    private static async Task<int> RunAsync(string socket, ulong offset, ulong? length, int seed, int queues, bool json, CancellationToken stop)
    {
        await using BlockClient disk = await BlockClient.ConnectAsync(socket, new BlockClientOptions { Queues = queues }, stop);
        if (disk.IsReadOnly)
            throw new ToolException($"The disk on '{socket}' is read-only, so nothing can be written to verify.");
        BlockRange range = BlockRange.Check(disk, offset, length);
        if (length is null)
            range = range with { Length = Math.Min(range.Length, UsualLength) };
        long started = Stopwatch.GetTimestamp();
        int used = await new DiskVerification(disk, range, (ulong)seed).RunAsync(quiet: json, stop);
        VerifyReport report = new()
        {
            Socket = socket,
            Offset = range.Offset,
            BytesVerified = range.Length,
            Seed = seed,
            Queues = used,
            QueuesAsked = queues,
            Seconds = Rounding.ToThousandths(Stopwatch.GetElapsedTime(started).TotalSeconds),
        };
        if (json)
            ToolOutput.PrintJson(report, ToolJson.Default.VerifyReport);
        else
            ToolOutput.PrintLine(report.ToText());
        return 0;
    }
}
