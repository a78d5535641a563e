using System.Diagnostics;
using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Tests.Support;

/// <summary>
/// Open descriptors, shared mappings and reserved addresses of this process, loaded assemblies left out. Tests that compare two counts belong to the collection <see cref="Name"/>,
/// which runs alone.
/// </summary>
public sealed class ProcessCounts
{
    /// <summary>The collection of tests that count what the whole process has.</summary>
    public const string Name = "process-wide counts";

    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(10);

    private readonly List<string> _descriptors = ListDescriptors();
    private readonly List<string> _mappings = ListMappings();

    private ProcessCounts()
    {
    }

    public int Descriptors => _descriptors.Count;

    /// <summary>Shared mappings only: private ones come and go with the collector, the compiler and thread stacks.</summary>
    public int Mappings => _mappings.Count;

    public static ProcessCounts Snapshot()
    {
        // Made once for the process; must not look like a leak of the first test that needs it.
        _ = Reactor.Shared;
        return new ProcessCounts();
    }

    /// <summary>Ranges of addresses reserved for mappings (<see cref="AddressReservation"/>).</summary>
    public int Reservations { get; } = AddressReservation.Live;

    /// <summary>How many shared mappings have a page between two addresses.</summary>
    public static int MappedIn(nint address, ulong length) => ListMappings().Count(line => Overlaps(line, (ulong)address, (ulong)address + length));

    /// <summary>How many mappings of any kind have a page between two addresses.</summary>
    public static int PiecesIn(nint address, ulong length) => File.ReadLines("/proc/self/maps").Count(line => Overlaps(line, (ulong)address, (ulong)address + length));

    /// <summary>Waits until there are no more descriptors and mappings than in this snapshot; fails naming those that stayed.</summary>
    public void AssertBack()
    {
        long started = Stopwatch.GetTimestamp();
        ProcessCounts now = Snapshot();
        while (!IsBack(now) && Stopwatch.GetElapsedTime(started) < _deadline)
        {
            Thread.Sleep(1);
            now = Snapshot();
        }

        if (IsBack(now)) return;
        throw new InvalidOperationException(string.Create(
            CultureInfo.InvariantCulture,
            $"Descriptors {Descriptors} -> {now.Descriptors}, mappings {Mappings} -> {now.Mappings}, reservations {Reservations} -> {now.Reservations}.\n"
            + $"gone: {Difference(_descriptors, now._descriptors)}\nnew: {Difference(now._descriptors, _descriptors)}\n"
            + $"gone: {Difference(_mappings, now._mappings)}\nnew: {Difference(now._mappings, _mappings)}"));
    }

    private static string Difference(List<string> of, List<string> without) => string.Join(", ", of.Except(without, StringComparer.Ordinal));

    private bool IsBack(ProcessCounts now) => now.Descriptors <= Descriptors && now.Mappings <= Mappings && now.Reservations <= Reservations;

    private static bool Overlaps(string line, ulong from, ulong to)
    {
        string[] bounds = line.Split(' ', 2)[0].Split('-');
        return ulong.Parse(bounds[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture) < to && from < ulong.Parse(bounds[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }

    private static List<string> ListDescriptors()
    {
        List<string> links = [];
        foreach (string entry in Directory.EnumerateFileSystemEntries("/proc/self/fd"))
        {
            // The descriptor of this very enumeration is among them and gone again afterwards.
            string link = LinkOf(entry);
            if (!link.EndsWith("/fd", StringComparison.Ordinal) && !IsAssembly(link)) links.Add($"{Path.GetFileName(entry)}={link}");
        }

        links.Sort(StringComparer.Ordinal);
        return links;
    }

    private static string LinkOf(string entry)
    {
        try
        {
            return new FileInfo(entry).LinkTarget ?? "?";
        }
        catch (IOException)
        {
            return "/fd";
        }
    }

    private static List<string> ListMappings() =>
    [
        // The runtime keeps its own code in a shared memfd of that name.
        .. File.ReadLines("/proc/self/maps")
            .Where(line => line.Split(' ', 3)[1].EndsWith('s') && !line.Contains("doublemapper", StringComparison.Ordinal) && !IsAssembly(line)),
    ];

    /// <summary>The runtime keeps every assembly it has loaded open and mapped, and loads them when it likes.</summary>
    private static bool IsAssembly(string path) =>
        path.EndsWith(".dll", StringComparison.Ordinal) || path.EndsWith(".pdb", StringComparison.Ordinal) || path.EndsWith(".so", StringComparison.Ordinal);
}
