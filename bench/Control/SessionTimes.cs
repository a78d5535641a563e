using System.Diagnostics;
using Vhost.Frontend;

namespace Vhost.Bench.Control;

/// <summary>How long sessions take to come to life.</summary>
internal static class SessionTimes
{
    private const int BlockBytes = 4096;
    private const int Outstanding = 32;

    /// <summary>From connecting to the first answered request: negotiation, memory, one ring.</summary>
    internal static Task<string> HandshakeAsync(string socket, TimeSpan interval)
    {
        byte[] block = new byte[BlockBytes];
        return Samples.MedianAsync(interval, async () =>
        {
            long started = Stopwatch.GetTimestamp();
            await using BlockClient disk = await BlockClient.ConnectAsync(socket);
            await disk.ReadAsync(0, block);
            return Stopwatch.GetTimestamp() - started;
        });
    }

    /// <summary>From leaving with requests outstanding to the first answered request of the next session: the back-end has to clean up in between.</summary>
    internal static Task<string> ReconnectAsync(string socket, TimeSpan interval)
    {
        byte[] block = new byte[BlockBytes];
        return Samples.MedianAsync(interval, async () =>
        {
            long started;
            await using (BlockClient left = await BlockClient.ConnectAsync(socket))
            {
                await left.ReadAsync(0, block);
                Task[] lost = [.. Enumerable.Range(0, Outstanding).Select(i => left.ReadAsync((ulong)i * BlockBytes, new byte[BlockBytes]).AsTask())];
                started = Stopwatch.GetTimestamp();
                await left.DisposeAsync();
                await Task.WhenAll(lost).ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
            }

            await using BlockClient disk = await BlockClient.ConnectAsync(socket);
            await disk.ReadAsync(0, block);
            return Stopwatch.GetTimestamp() - started;
        });
    }
}
