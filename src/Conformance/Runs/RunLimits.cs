using System.Text;

namespace Vhost.Conformance;

/// <summary>What both suites demand of their options.</summary>
internal static class RunLimits
{
    // sun_path without its end
    private const int LongestPath = 107;

    public static void Check(string socketPath, string device, IReadOnlyList<string> devices, TimeSpan timeout)
    {
        ArgumentException.ThrowIfNullOrEmpty(socketPath);
        if (Encoding.UTF8.GetByteCount(socketPath) > LongestPath)
            throw new ArgumentException($"The path of the socket has {Encoding.UTF8.GetByteCount(socketPath)} bytes, at most {LongestPath} are possible.", nameof(socketPath));
        if (!devices.Contains(device, StringComparer.Ordinal))
            throw new ArgumentException($"Device '{device}': must be one of {string.Join(", ", devices)}.", nameof(device));
        if (timeout < ConformanceLimits.ShortestTimeout || timeout > ConformanceLimits.LongestTimeout)
            throw new ArgumentOutOfRangeException(nameof(timeout), timeout, "A timeout is at least a millisecond, and at most ten minutes.");
    }

    public static void Check(int seed)
    {
        if (seed < ConformanceLimits.LowestSeed)
            throw new ArgumentOutOfRangeException(nameof(seed), seed, "A seed is not negative.");
    }
}
