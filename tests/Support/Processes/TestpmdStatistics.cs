using System.Globalization;

namespace Vhost.Tests.Support;

/// <summary>One answer to <c>show port stats</c>: totals since the start, rates since the answer before.</summary>
public sealed record TestpmdStatistics
{
    public required long RxPackets { get; init; }

    public required long RxBytes { get; init; }

    public required long RxErrors { get; init; }

    public required long TxPackets { get; init; }

    public required long TxBytes { get; init; }

    public required long TxErrors { get; init; }

    public required long RxPacketsPerSecond { get; init; }

    public required long TxPacketsPerSecond { get; init; }

    /// <summary>Reads the lines of an answer for one port, among others.</summary>
    /// <exception cref="FormatException">A figure is missing.</exception>
    public static TestpmdStatistics Parse(IEnumerable<string> lines)
    {
        Dictionary<string, long> figures = new(StringComparer.Ordinal);
        foreach (string line in lines)
        {
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            for (int i = 0; i + 1 < words.Length; i++)
            {
                if (words[i].EndsWith(':') && long.TryParse(words[i + 1], NumberStyles.None, CultureInfo.InvariantCulture, out long value))
                    figures[words[i]] = value;
            }
        }

        return new TestpmdStatistics
        {
            RxPackets = Figure(figures, "RX-packets:"),
            RxBytes = Figure(figures, "RX-bytes:"),
            RxErrors = Figure(figures, "RX-errors:"),
            TxPackets = Figure(figures, "TX-packets:"),
            TxBytes = Figure(figures, "TX-bytes:"),
            TxErrors = Figure(figures, "TX-errors:"),
            RxPacketsPerSecond = Figure(figures, "Rx-pps:"),
            TxPacketsPerSecond = Figure(figures, "Tx-pps:"),
        };
    }

    private static long Figure(Dictionary<string, long> figures, string name) =>
        figures.TryGetValue(name, out long value) ? value : throw new FormatException($"testpmd's statistics have no '{name}'.");
}
