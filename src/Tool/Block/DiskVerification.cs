using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary>
/// Writes a seeded pattern over a part of a disk and compares what comes back. As many pieces are under way as there are queues, and the client's queues
/// take turns, so each of them carries its share.
/// </summary>
internal sealed class DiskVerification(BlockClient disk, BlockRange range, ulong seed)
{
    private readonly ulong _step = StepOf(disk, range);
    private ulong _started;
    private ulong _finished;

    /// <summary>Runs to the end.</summary>
    /// <returns>How many queues carried data.</returns>
    /// <exception cref="ToolException">The disk gave back something else than was written.</exception>
    internal async Task<int> RunAsync(bool quiet, CancellationToken stop)
    {
        await ToolOutput.WithProgressAsync("writing", range.Length, quiet, progress => InLanesAsync(WriteAsync, progress, stop));
        await disk.FlushAsync(stop);
        await ToolOutput.WithProgressAsync("reading", range.Length, quiet, progress => InLanesAsync(CompareAsync, progress, stop));
        return (int)Math.Min((ulong)disk.QueueCount, (range.Length + _step - 1) / _step);
    }

    /// <summary>A small range still has a piece for each queue.</summary>
    private static ulong StepOf(BlockClient disk, BlockRange range)
    {
        ulong block = disk.BlockSize;
        ulong share = range.Length / (ulong)disk.QueueCount / block * block;
        return Math.Clamp(share, block, BlockRange.ChunkSize);
    }

    private async Task InLanesAsync(Func<ulong, Memory<byte>, CancellationToken, Task> work, Action<ulong> progress, CancellationToken stop)
    {
        _started = _finished = 0;
        using CancellationTokenSource failed = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await Task.WhenAll(Enumerable.Range(0, disk.QueueCount).Select(_ => Task.Run(() => LaneAsync(work, progress, failed), CancellationToken.None)));
    }

    private async Task LaneAsync(Func<ulong, Memory<byte>, CancellationToken, Task> work, Action<ulong> progress, CancellationTokenSource failed)
    {
        byte[] chunk = new byte[_step];
        try
        {
            while (true)
            {
                ulong done = Interlocked.Add(ref _started, _step) - _step;
                if (done >= range.Length)
                    return;
                Memory<byte> part = chunk.AsMemory(0, (int)Math.Min(_step, range.Length - done));
                await work(range.Offset + done, part, failed.Token);
                progress(Interlocked.Add(ref _finished, (uint)part.Length));
            }
        }
        catch
        {
            await failed.CancelAsync();
            throw;
        }
    }

    private async Task WriteAsync(ulong at, Memory<byte> part, CancellationToken stop)
    {
        SeededPattern.Fill(part.Span, seed, at);
        await disk.WriteAsync(at, part, cancellationToken: stop);
    }

    private async Task CompareAsync(ulong at, Memory<byte> part, CancellationToken stop)
    {
        await disk.ReadAsync(at, part, cancellationToken: stop);
        int wrong = SeededPattern.FindDifference(part.Span, seed, at);
        if (wrong >= 0)
            throw new ToolException(FormattableString.Invariant($"Data read back differs from data written, at byte {at + (uint)wrong} of the disk."));
    }
}
