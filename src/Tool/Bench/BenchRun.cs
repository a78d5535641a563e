using System.Diagnostics;
using System.Globalization;
using System.Numerics;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>Warm-up, then the measured interval, then the end. The thread that measures sleeps meanwhile and allocates nothing.</summary>
internal static class BenchRun
{
    private const int SmallestRing = 128;

    /// <summary>The parts of a measurement that are looked at one by one for what they allocate.</summary>
    private const int Steps = 21;

    private static readonly TimeSpan _warmUp = TimeSpan.FromSeconds(1);

    internal static async Task<BenchReport> RunAsync(BenchSettings settings, CancellationToken stop)
    {
        BlockClientOptions options = new()
        {
            Queues = settings.Queues,
            Polled = settings.Poll,
            QueueSize = RingFor(settings.QueueDepth),
            BufferSize = (settings.BlockSize + 4095) / 4096 * 4096,
        };
        await using BlockClient disk = await ConnectAsync(settings, options, stop);
        Check(disk, settings);
        using BenchClock clock = new();
        BenchWorker[] workers = MakeWorkers(disk, settings, clock);
        foreach (BenchWorker worker in workers)
            worker.Start();
        BenchReport report = Measure(settings, workers, clock, stop);
        await Task.WhenAll(workers.Select(worker => worker.Completion));
        stop.ThrowIfCancellationRequested();
        return report;
    }

    private static async Task<BlockClient> ConnectAsync(BenchSettings settings, BlockClientOptions options, CancellationToken stop)
    {
        try
        {
            return await BlockClient.ConnectAsync(settings.Socket, options, stop);
        }
        catch (VhostUserRejectedException e) when (e.RequestCode == (uint)VhostUserRequest.SetVringNum && options.QueueSize > SmallestRing)
        {
            throw new ToolException(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"--queue-depth {settings.QueueDepth}: needs a ring of {options.QueueSize} entries, three for each request, which the back-end on "
                    + $"'{settings.Socket}' refused. Choose less."),
                e);
        }
    }

    /// <summary>A request takes three entries of the ring.</summary>
    private static ushort RingFor(int depth) => (ushort)Math.Max(SmallestRing, (int)BitOperations.RoundUpToPowerOf2((uint)(3 * depth)));

    private static void Check(BlockClient disk, BenchSettings settings)
    {
        if (settings.IsWrite && disk.IsReadOnly)
            throw new ToolException($"The disk on '{settings.Socket}' is read-only; choose --rw randread or read.");
        if (settings.BlockSize % disk.BlockSize != 0)
            throw new ToolException(string.Create(CultureInfo.InvariantCulture, $"--block-size {settings.BlockSize}: must be a multiple of the disk's block size, {disk.BlockSize}."));
        if ((ulong)settings.BlockSize > disk.CapacityBytes)
            throw new ToolException(string.Create(CultureInfo.InvariantCulture, $"--block-size {settings.BlockSize}: the disk has only {disk.CapacityBytes} bytes."));
        if (disk.QueueCount < settings.Queues)
            throw new ToolException(string.Create(CultureInfo.InvariantCulture, $"--queues {settings.Queues}: the back-end on '{settings.Socket}' serves only {disk.QueueCount}."));
    }

    private static BenchWorker[] MakeWorkers(BlockClient disk, BenchSettings settings, BenchClock clock) => settings.Poll
        ? [.. disk.Queues.Select(queue => new PolledWorker(queue, settings, disk.CapacityBytes, clock))]
        : [.. Enumerable.Range(0, settings.QueueDepth * settings.Queues).Select(index => new AsyncWorker(disk, settings, index, clock))];

    private static BenchReport Measure(BenchSettings settings, BenchWorker[] workers, BenchClock clock, CancellationToken stop)
    {
        WaitHandle[] interruptions = [stop.WaitHandle, clock.Failed];
        WaitHandle.WaitAny(interruptions, _warmUp);
        AllocationSteps steps = new(Steps);
        long allocatedBefore = GC.GetTotalAllocatedBytes(precise: true);
        long operationsBefore = Sum(workers);
        long started = Stopwatch.GetTimestamp();
        clock.Phase = BenchPhase.Measure;

        long operations = operationsBefore;
        long allocated = allocatedBefore;
        bool isInterrupted = false;
        for (int step = 0; step < Steps && !isInterrupted; step++)
        {
            isInterrupted = WaitHandle.WaitAny(interruptions, TimeSpan.FromSeconds(settings.Seconds) / Steps) != WaitHandle.WaitTimeout;
            long operationsNow = Sum(workers);
            long allocatedNow = GC.GetTotalAllocatedBytes(precise: true);
            steps.Add(allocatedNow - allocated, operationsNow - operations);
            (operations, allocated) = (operationsNow, allocatedNow);
        }

        double seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        clock.Phase = BenchPhase.Stop;
        return Report(settings, workers, new Figures(operations - operationsBefore, seconds, allocated - allocatedBefore, steps.PerOperation));
    }

    private static long Sum(BenchWorker[] workers)
    {
        long sum = 0;
        foreach (BenchWorker worker in workers)
            sum += worker.Operations;
        return sum;
    }

    private static BenchReport Report(BenchSettings settings, BenchWorker[] workers, Figures figures)
    {
        LatencyHistogram latencies = new();
        foreach (BenchWorker worker in workers)
            latencies.Add(worker.Latencies);
        return new BenchReport
        {
            Socket = settings.Socket,
            Rw = settings.Pattern.ToString().ToLowerInvariant(),
            QueueDepth = settings.QueueDepth,
            BlockSize = settings.BlockSize,
            Queues = settings.Queues,
            Poll = settings.Poll,
            Seconds = Rounding.ToThousandths(figures.Seconds),
            Operations = figures.Operations,
            Iops = (long)(figures.Operations / figures.Seconds),
            BytesPerSecond = (long)(figures.Operations / figures.Seconds * settings.BlockSize),
            LatencyUs = latencies.Report(),
            AllocatedBytes = figures.Allocated,
            AllocatedBytesPerOp = figures.AllocatedPerOperation,
        };
    }

    private readonly record struct Figures(long Operations, double Seconds, long Allocated, decimal AllocatedPerOperation);
}
