using System.CommandLine;
using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary><c>vhost-user blk write</c>: copies a file to the disk and makes it durable.</summary>
internal static class BlkWriteCommand
{
    internal static Command Build()
    {
        Option<string> socket = ToolOptions.Socket();
        Option<ulong?> offset = ToolOptions.Size("--offset", "First byte to write; 0 when not given.");
        Option<string> input = ToolOptions.Path("--input", "File whose content is written.", required: true);
        Option<bool> json = ToolOptions.Json();
        Command command = new("write", "Copy a file to the disk.") { socket, offset, input, json };
        command.SetAction((line, stop) => RunAsync(
            line.GetRequiredValue(socket), line.GetValue(offset) ?? 0, line.GetRequiredValue(input), line.GetValue(json), stop));
        return command;
    }

    private static async Task<int> RunAsync(string socket, ulong offset, string input, bool json, CancellationToken stop)
    {
        using SafeFileHandle file = Open(input);
        ulong length = (ulong)RandomAccess.GetLength(file);
        await using BlockClient disk = await BlockClient.ConnectAsync(socket, cancellationToken: stop);
        if (disk.IsReadOnly)
            throw new ToolException($"The disk on '{socket}' is read-only.");
        if (length % disk.BlockSize != 0)
            throw new ToolException(FormattableString.Invariant($"'{input}' has {length} bytes, which is no multiple of the disk's block size. Pad it first: truncate -s %{disk.BlockSize} {input}"));
        BlockRange range = BlockRange.Check(disk, offset, length);
        long started = Stopwatch.GetTimestamp();
        await ToolOutput.WithProgressAsync("writing", length, json, progress => CopyAsync(disk, range, file, progress, stop));
        await disk.FlushAsync(stop);
        TransferReport report = new()
        {
            Socket = socket,
            File = input,
            Offset = offset,
            Bytes = length,
            Seconds = Rounding.ToThousandths(Stopwatch.GetElapsedTime(started).TotalSeconds),
        };
        if (json)
            ToolOutput.PrintJson(report, ToolJson.Default.TransferReport);
        else
            ToolOutput.PrintLine(report.ToText("wrote"));
        return 0;
    }

    private static async Task CopyAsync(BlockClient disk, BlockRange range, SafeFileHandle file, Action<ulong> progress, CancellationToken stop)
    {
        byte[] chunk = new byte[BlockRange.ChunkSize];
        for (ulong done = 0; done < range.Length;)
        {
            Memory<byte> part = chunk.AsMemory(0, range.ChunkAt(done));
            await ReadWholeAsync(file, part, done, stop);
            await disk.WriteAsync(range.Offset + done, part, cancellationToken: stop);
            done += (uint)part.Length;
            progress(done);
        }
    }

    private static async Task ReadWholeAsync(SafeFileHandle file, Memory<byte> destination, ulong offset, CancellationToken stop)
    {
        for (int filled = 0; filled < destination.Length;)
        {
            int count = await RandomAccess.ReadAsync(file, destination[filled..], (long)offset + filled, stop);
            if (count == 0)
                throw new ToolException("The input file became shorter while it was read.");
            filled += count;
        }
    }

    private static SafeFileHandle Open(string path)
    {
        try
        {
            return File.OpenHandle(path);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new ToolException($"Cannot read '{path}': {failure.Message} Name a file that exists and that you may read.");
        }
    }
}
