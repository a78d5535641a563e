using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Serialization;

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

    /// <summary>Processes that wanted to run in the minute before the start, the build by <c>bench/run.sh</c> among them.</summary>
    public required double LoadAtStart { get; init; }

    /// <summary>Processors that others kept busy during a second before the first run: above <see cref="OtherLoad.Tolerable"/> the figures are worth little.</summary>
    public required double OthersAtStart { get; init; }

    /// <summary>What to tell about others that keep the machine busy; null when nobody does.</summary>
    [JsonIgnore]
    internal string? Warning { get; private init; }

    internal static async Task<Machine> DescribeAsync(Workbench bench)
    {
        Machine machine = await DescribeAloneAsync(bench);
        OtherLoad load = new();
        IReadOnlyList<(string Program, double Processors)> busiest = await ProcessTimes.BusiestAsync();
        double others = load.Processors();
        string who = string.Join(", ", busiest.Select(one => string.Create(CultureInfo.InvariantCulture, $"{one.Program} {one.Processors:0.00}")));
        return machine with
        {
            OthersAtStart = others,
            Warning = others <= OtherLoad.Tolerable ? null : string.Create(
                CultureInfo.InvariantCulture,
                $"WARNING: the machine is busy: others use {others:0.00} of its {Environment.ProcessorCount} processors{(who.Length > 0 ? $" ({who})" : "")}. Figures taken meanwhile are worth little."),
        };
    }

    private static async Task<Machine> DescribeAloneAsync(Workbench bench) => new()
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
        OthersAtStart = 0,
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
