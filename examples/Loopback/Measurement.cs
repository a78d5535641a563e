using System.Diagnostics;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Loopback;

internal readonly record struct Rates(double Iops, double MedianMicroseconds);

/// <summary>Reads of 4 KiB at random places, polled on both sides: 32 at a time for the rate, one at a time for the latency.</summary>
internal static class Measurement
{
    private const int BlockSize = 4096;
    private const int Depth = 32;
    private static readonly TimeSpan _warmUp = TimeSpan.FromMilliseconds(300);
    private static readonly TimeSpan _measured = TimeSpan.FromSeconds(1);

    public static async Task<Rates> RunAsync(BlockDevice device)
    {
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { Dispatch = QueueDispatch.BusyPoll });
        (VhostUserConnection frontEnd, VhostUserConnection backEnd) = VhostUserConnection.CreatePair();
        Task serving = backend.ServeAsync(backEnd);
        Rates rates;
        await using (BlockClient disk = await BlockClient.StartAsync(frontEnd, new BlockClientOptions { Polled = true }))
        {
            // A polled queue wants a thread of its own, not one of the pool.
            rates = await Task.Factory.StartNew(() => Measure(disk), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }

        await serving;
        return rates;
    }

    private static Rates Measure(BlockClient disk)
    {
        BlockQueue queue = disk.Queues[0];
        long blocks = (long)(disk.CapacityBytes / BlockSize);
        Rate(queue, blocks, _warmUp);
        double iops = Rate(queue, blocks, _measured);
        return new Rates(iops, Latency(queue, blocks));
    }

    private static double Rate(BlockQueue queue, long blocks, TimeSpan time)
    {
        BlockCompletion[] completions = new BlockCompletion[Depth];
        Random random = new(1);
        for (int slot = 0; slot < Depth; slot++)
            Submit(queue, slot, random, blocks);
        queue.Publish();

        long done = 0;
        long start = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(start) < time)
        {
            int count = queue.Poll(completions);
            for (int i = 0; i < count; i++)
                Submit(queue, Checked(completions[i]).Slot, random, blocks);
            if (count != 0)
                queue.Publish();
            done += count;
        }

        double rate = done / Stopwatch.GetElapsedTime(start).TotalSeconds;
        while (queue.InFlight != 0)
            queue.Poll(completions);
        return rate;
    }

    private static double Latency(BlockQueue queue, long blocks)
    {
        BlockCompletion[] completion = new BlockCompletion[1];
        Random random = new(2);
        double[] microseconds = new double[20_000];
        for (int i = 0; i < microseconds.Length; i++)
        {
            long start = Stopwatch.GetTimestamp();
            Submit(queue, 0, random, blocks);
            queue.Publish();
            while (queue.Poll(completion) == 0)
            {
            }

            microseconds[i] = Stopwatch.GetElapsedTime(start).TotalMicroseconds;
            Checked(completion[0]);
        }

        Array.Sort(microseconds);
        return microseconds[microseconds.Length / 2];
    }

    private static void Submit(BlockQueue queue, int slot, Random random, long blocks)
    {
        if (!queue.TrySubmitRead(slot, (ulong)random.NextInt64(blocks) * BlockSize, BlockSize))
            throw new InvalidOperationException("The ring has no room.");
    }

    private static BlockCompletion Checked(BlockCompletion completion) =>
        completion.IsOk ? completion : throw new IOException($"The device answered {completion.Status}.");
}
