using System.Diagnostics;
using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>What of the machine's processors went to others than this process and those that it started, since the object was made.</summary>
internal sealed class OtherLoad
{
    /// <summary>Of one processor. More than that and figures are worth little: both sides poll, and one that is not running leaves the other waiting.</summary>
    internal const double Tolerable = 0.15;

    private const int TicksPerSecond = 100;

    private readonly long _started = Stopwatch.GetTimestamp();
    private readonly long _ticks = Others();

    /// <summary>In processors: 0.5 is half of one, all the time. What the host of a virtual machine took away is part of it.</summary>
    internal double Processors()
    {
        double seconds = Stopwatch.GetElapsedTime(_started).TotalSeconds;
        return Math.Round(Math.Max(0, Others() - _ticks) / seconds / TicksPerSecond, 2);
    }

    private static long Others() => Busy() - Own();

    /// <summary>user, nice, system and steal of all processors (proc(5), /proc/stat).</summary>
    private static long Busy()
    {
        string[] fields = File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return Number(fields[1]) + Number(fields[2]) + Number(fields[3]) + (fields.Length > 8 ? Number(fields[8]) : 0);
    }

    /// <summary>Of this process and of those of its children that have ended, which between two runs all have.</summary>
    private static long Own() => ProcessTimes.Read("/proc/self/stat") is { } own ? own.Own + own.Children : 0;

    private static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);
}
