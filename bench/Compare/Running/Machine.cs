using System.Globalization;
using System.Runtime.InteropServices;

namespace Vhost.Bench.Compare;

/// <summary>What the figures were taken on.</summary>
internal sealed record Machine
{
    public required string Processor { get; init; }

    public required int Processors { get; init; }

    public required string Kernel { get; init; }

    public required long MemoryMib { get; init; }

    public required string Runtime { get; init; }

    /// <summary>Versions of the peers; null when absent.</summary>
    public required string? Dpdk { get; init; }

    public required string? StorageDaemon { get; init; }

    /// <summary>Which pages the peers' processes got.</summary>
    public required string PeerPages { get; init; }

    /// <summary>Processes that wanted to run in the minute before the start: above 1 the figures are worth little.</summary>
    public required double LoadAtStart { get; init; }

    internal static async Task<Machine> DescribeAsync(Workbench bench) => new()
    {
        Processor = File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(':')[1].Trim()
            ?? RuntimeInformation.OSArchitecture.ToString(),
        Processors = Environment.ProcessorCount,
        Kernel = Environment.OSVersion.VersionString,
        MemoryMib = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes >> 20,
        Runtime = RuntimeInformation.FrameworkDescription,
        Dpdk = await LineAsync("RTE Version", TestpmdCommand.Program, "-v", "--no-pci", "--no-huge", "--no-shconf", "-m", "64", "--", "--help"),
        StorageDaemon = await LineAsync("version", "qemu-storage-daemon", "--version"),
        PeerPages = bench.Pages,
        LoadAtStart = double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture),
    };

    private static async Task<string?> LineAsync(string part, string program, params string[] arguments)
    {
        try
        {
            ChildProcess.Outcome outcome = await ChildProcess.RunAsync(program, arguments);
            return outcome.Output.Concat(outcome.Errors).FirstOrDefault(line => line.Contains(part, StringComparison.Ordinal));
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }
}
