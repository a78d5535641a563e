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

    public required int Queues { get; init; }

    public required decimal Seconds { get; init; }
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
        await ToolOutput.WithProgressAsync("writing", range.Length, json, progress => WriteAsync(disk, range, (ulong)seed, progress, stop));
        await disk.FlushAsync(stop);
        await ToolOutput.WithProgressAsync("reading", range.Length, json, progress => CompareAsync(disk, range, (ulong)seed, progress, stop));
        VerifyReport report = new()
        {
            Socket = socket,
            Offset = range.Offset,
            BytesVerified = range.Length,
            Seed = seed,
            Queues = disk.QueueCount,
            Seconds = Rounding.ToThousandths(Stopwatch.GetElapsedTime(started).TotalSeconds),
        };
        if (json)
            ToolOutput.PrintJson(report, ToolJson.Default.VerifyReport);
        else
            ToolOutput.PrintLine(FormattableString.Invariant($"verified {report.BytesVerified} bytes at offset {report.Offset} in {report.Seconds} s"));
        return 0;
    }

    private static async Task WriteAsync(BlockClient disk, BlockRange range, ulong seed, Action<ulong> progress, CancellationToken stop)
    {
        byte[] chunk = new byte[BlockRange.ChunkSize];
        for (ulong done = 0; done < range.Length;)
        {
            Memory<byte> part = chunk.AsMemory(0, range.ChunkAt(done));
            SeededPattern.Fill(part.Span, seed, range.Offset + done);
            await disk.WriteAsync(range.Offset + done, part, cancellationToken: stop);
            done += (uint)part.Length;
            progress(done);
        }
    }

    private static async Task CompareAsync(BlockClient disk, BlockRange range, ulong seed, Action<ulong> progress, CancellationToken stop)
    {
        byte[] chunk = new byte[BlockRange.ChunkSize];
        for (ulong done = 0; done < range.Length;)
        {
            Memory<byte> part = chunk.AsMemory(0, range.ChunkAt(done));
            await disk.ReadAsync(range.Offset + done, part, cancellationToken: stop);
            int wrong = SeededPattern.FindDifference(part.Span, seed, range.Offset + done);
            if (wrong >= 0)
                throw new ToolException(FormattableString.Invariant($"Data read back differs from data written, first at byte {range.Offset + done + (uint)wrong} of the disk."));
            done += (uint)part.Length;
            progress(done);
        }
    }
}
