using System.Diagnostics;
using System.Globalization;

namespace Vhost.Backend.Tests;

/// <summary>What the whole process uses: resident memory and processor time.</summary>
internal sealed class ProcessHealth
{
    /// <summary>Far above what compiling and the collector do by themselves, far below what a leak of a storm is.</summary>
    private const long MemoryBound = 96 << 20;

    /// <summary>The promise is one second; a busy machine is given five.</summary>
    private static readonly TimeSpan _idleWithin = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan _window = TimeSpan.FromMilliseconds(50);

    private readonly long _resident = Resident();

    private ProcessHealth()
    {
    }

    public static ProcessHealth Snapshot() => new();

    /// <summary>Resident memory has not grown by more than the bound since the snapshot, once garbage is gone.</summary>
    public void AssertMemoryBounded()
    {
        if (Resident() - _resident < MemoryBound)
            return;
        GC.Collect(2, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        (Resident() - _resident).Should().BeLessThan(MemoryBound, "a peer cannot make the back-end keep memory");
    }

    /// <summary>Soon there is a moment in which the process does next to nothing. The runtime may still compile; what spins, spins for ever.</summary>
    public static async Task AssertIdleAsync()
    {
        Stopwatch clock = Stopwatch.StartNew();
        double use;
        do
            use = await ProcessorUseAsync(_window);
        while (use > 0.1 && clock.Elapsed < _idleWithin);
        use.Should().BeLessThanOrEqualTo(0.1, "nothing is left to do");
    }

    /// <summary>Processor time that this process uses, as a share of one processor.</summary>
    public static async Task<double> ProcessorUseAsync(TimeSpan window)
    {
        Stopwatch clock = Stopwatch.StartNew();
        TimeSpan before = Environment.CpuUsage.TotalTime;
        await Task.Delay(window);
        return (Environment.CpuUsage.TotalTime - before) / clock.Elapsed;
    }

    private static long Resident()
    {
        string pages = File.ReadAllText("/proc/self/statm").Split(' ')[1];
        return long.Parse(pages, CultureInfo.InvariantCulture) * Environment.SystemPageSize;
    }
}
