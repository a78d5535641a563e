using System.Diagnostics;
using System.Globalization;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Bench.Control;

/// <summary>
/// Polled 4 KiB reads, 32 at a time, into 512 buffers that are spread over a number of regions of memory. Ring and headers are in a region of their own,
/// which has some of the buffers too where every region that there can be is asked for.
/// </summary>
internal sealed class RegionRate
{
    private const int BlockBytes = 4096;
    private const int Depth = 32;
    private const int Buffers = 512;
    private const ulong FirstRegion = 1UL << 36;
    private const ulong RegionDistance = 1UL << 24;

    /// <summary>Odd, so that neighbours in time are far apart in memory and every buffer has its turn.</summary>
    private const int Stride = 197;

    private static readonly TimeSpan _warmUp = TimeSpan.FromSeconds(1.5);

    private readonly BlockQueue _queue;

    /// <summary>Null: that of the slot, in the region of the ring.</summary>
    private readonly GuestBuffer?[] _buffers;
    private readonly BlockCompletion[] _completions = new BlockCompletion[Depth];
    private int _next;

    private RegionRate(BlockQueue queue, GuestBuffer?[] buffers)
    {
        _queue = queue;
        _buffers = buffers;
    }

    internal static async Task<string> MeasureAsync(string socket, int regions, TimeSpan interval)
    {
        await using BlockClient disk = await BlockClient.ConnectAsync(socket, new BlockClientOptions { Polled = true });
        int most = disk.Frontend.MaxMemorySlots;
        if (regions < 1 || regions > most)
            throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"--regions {regions}: the back-end takes 1 to {most}."));
        int added = Math.Min(regions, most - 1);
        List<SharedMemory> memory = new();
        try
        {
            int buffersEach = (Buffers + regions - 1) / regions;
            for (int i = 0; i < added; i++)
            {
                memory.Add(SharedMemory.CreateSealed("regions", (ulong)(buffersEach * BlockBytes)));
                await disk.Frontend.AddMemoryAsync(new GuestMemoryRegion(At(i), memory[i]));
            }

            GuestBuffer?[] buffers = [.. Enumerable.Range(0, Buffers).Select(i => i % regions < added ? Buffer(i % regions, i / regions) : (GuestBuffer?)null)];
            double rate = new RegionRate(disk.Queues[0], buffers).Run(interval);
            return string.Create(CultureInfo.InvariantCulture, $$"""{"regions":{{regions}},"requests_per_second":{{rate:0}}}""");
        }
        finally
        {
            await disk.DisposeAsync();
            memory.ForEach(mapping => mapping.Dispose());
        }
    }

    private static GuestAddress At(int region) => new(FirstRegion + ((ulong)region * RegionDistance));

    private static GuestBuffer Buffer(int region, int place) => new(new GuestAddress(At(region).Value + (ulong)(place * BlockBytes)), BlockBytes);

    private double Run(TimeSpan interval)
    {
        for (int slot = 0; slot < Depth; slot++)
            Submit(slot);
        _queue.Publish();
        Turn(_warmUp);
        long started = Stopwatch.GetTimestamp();
        long count = Turn(interval);
        double seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        while (_queue.InFlight > 0)
            _queue.Poll(_completions);
        return count / seconds;
    }

    private long Turn(TimeSpan time)
    {
        long count = 0;
        for (long started = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(started) < time;)
        {
            int done = _queue.Poll(_completions);
            for (int i = 0; i < done; i++)
            {
                if (!_completions[i].IsOk)
                    throw new InvalidOperationException($"A request was answered with status {_completions[i].Status}.");
                Submit(_completions[i].Slot);
            }

            if (done > 0)
                _queue.Publish();
            count += done;
        }

        return count;
    }

    private void Submit(int slot)
    {
        GuestBuffer? buffer = _buffers[_next];
        _next = (_next + Stride) % Buffers;
        bool submitted = buffer is { } somewhere
            ? _queue.TrySubmit(slot, new VirtioBlkRequestHeader(VirtioBlkRequestType.In, 0, (ulong)(slot * (BlockBytes / 512))), [], [somewhere])
            : _queue.TrySubmitRead(slot, (ulong)(slot * BlockBytes), BlockBytes);
        if (!submitted)
            throw new InvalidOperationException("The ring has no room.");
    }
}
