using System.CommandLine;
using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary><c>vhost-user blk read</c>: copies a part of the disk to a file.</summary>
internal static class BlkReadCommand
{
    internal static Command Build()
    {
        Option<string> socket = ToolOptions.Socket();
        Option<ulong?> offset = ToolOptions.Size("--offset", "First byte to read; 0 when not given.");
        Option<ulong?> length = ToolOptions.Size("--length", "How much to read; to the end of the disk when not given.");
        Option<string> output = ToolOptions.Path("--output", "File to write to; replaced if it exists.", required: true);
        Option<bool> json = ToolOptions.Json();
        Command command = new("read", "Copy a part of the disk to a file.") { socket, offset, length, output, json };
        command.SetAction((line, stop) => RunAsync(
            line.GetRequiredValue(socket), line.GetValue(offset) ?? 0, line.GetValue(length), line.GetRequiredValue(output), line.GetValue(json), stop));
        return command;
    }

    private static async Task<int> RunAsync(string socket, ulong offset, ulong? length, string output, bool json, CancellationToken stop)
    {
        await using BlockClient disk = await BlockClient.ConnectAsync(socket, cancellationToken: stop);
        BlockRange range = BlockRange.Check(disk, offset, length);
        using SafeFileHandle file = Create(output);
        long started = Stopwatch.GetTimestamp();
        await ToolOutput.WithProgressAsync("reading", range.Length, json, progress => CopyAsync(disk, range, file, progress, stop));
        TransferReport report = new()
        {
            Socket = socket,
            File = output,
            Offset = range.Offset,
            Bytes = range.Length,
            Seconds = Rounding.ToThousandths(Stopwatch.GetElapsedTime(started).TotalSeconds),
        };
        if (json)
            ToolOutput.PrintJson(report, ToolJson.Default.TransferReport);
        else
            ToolOutput.PrintLine(report.ToText("read"));
        return 0;
    }

    private static async Task CopyAsync(BlockClient disk, BlockRange range, SafeFileHandle file, Action<ulong> progress, CancellationToken stop)
    {
        byte[] chunk = new byte[BlockRange.ChunkSize];
        for (ulong done = 0; done < range.Length;)
        {
            Memory<byte> part = chunk.AsMemory(0, range.ChunkAt(done));
            await disk.ReadAsync(range.Offset + done, part, cancellationToken: stop);
            await RandomAccess.WriteAsync(file, part, (long)done, stop);
            done += (uint)part.Length;
            progress(done);
        }
    }

    private static SafeFileHandle Create(string path)
    {
        try
        {
            return File.OpenHandle(path, FileMode.Create, FileAccess.Write, FileShare.Read);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new ToolException($"Cannot write to '{path}': {failure.Message} Name a file in a folder that exists and that you may write to.");
        }
    }
}
