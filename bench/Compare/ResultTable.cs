using System.Globalization;
using Spectre.Console;

namespace Vhost.Bench.Compare;

/// <summary>The rows for a person.</summary>
internal static class ResultTable
{
    private const int WideEnough = 200;

    internal static void Print(CompareReport report)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings());
        if (Console.IsOutputRedirected)
            console.Profile.Width = WideEnough;
        Table table = new() { Border = TableBorder.Simple };
        foreach (string head in (string[])["row", "unit"])
            table.AddColumn(new TableColumn(head) { NoWrap = true });
        foreach (string head in (string[])["ours", "peer", "ratio", "least", "most", "rounds", "line", "others", "empty polls", "goal"])
            table.AddColumn(new TableColumn(head) { Alignment = Justify.Right, NoWrap = true });
        table.AddColumn("met");
        foreach (Row row in report.Rows)
            table.AddRow([.. Cells(row).Select(Markup.Escape)]);
        console.Write(table);
        ProbeReport probe = report.Probe;
        console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"Probe: cache line there and back {probe.CacheLineRoundTripNs} ns, copies of 64 B {probe.Copy64Ns} ns and 4 KiB {probe.Copy4096Ns} ns, bare ring {probe.BareRingMillionPerSecond} M/s."));
        console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Load at the start: {report.Machine.LoadAtStart}. Peers' memory: {report.Machine.PeerPages}."));
        if (report.Rows.Any(row => row.Unsteady > 0))
            console.WriteLine("* The processors moved during a round, also when it was run again.");
        if (report.Machine.Warning is { } busy)
            console.WriteLine(busy);
        if (report.Rows.Any(row => row.Others > OtherLoad.Tolerable))
            console.WriteLine("! Others kept that many processors busy meanwhile: such a row is worth little.");
        foreach (Row row in report.Rows.Where(row => row.Error is not null))
            console.WriteLine($"{row.Name} was not measured: {row.Error}");
    }

    private static IEnumerable<string> Cells(Row row) =>
    [
        row.Name, row.Unit, Figure(row.Ours), Figure(row.Peer), Figure(row.Ratio), Figure(row.Min), Figure(row.Max),
        row.Rounds.ToString(CultureInfo.InvariantCulture),
        row.LineNs is { } line ? string.Create(CultureInfo.InvariantCulture, $"{line:0} ns{(row.Unsteady > 0 ? "*" : "")}") : "",
        row.Others is { } others ? string.Create(CultureInfo.InvariantCulture, $"{others:0.00}{(others > OtherLoad.Tolerable ? "!" : "")}") : "",
        row.EmptyPolls is { } share ? string.Create(CultureInfo.InvariantCulture, $"{share:0} %") : "", Figure(row.Goal),
        row.Error is not null ? "failed" : row.Met switch { true => "yes", false => "NO", null => "" },
    ];

    /// <summary>What is not 0 does not look like it: a goal of 0 may be missed by very little.</summary>
    private static string Figure(double? value) => value switch
    {
        null => "",
        0 => "0",
        > -0.1 and < 0.1 => value.Value.ToString("0.#######", CultureInfo.InvariantCulture),
        >= 100 => value.Value.ToString("0", CultureInfo.InvariantCulture),
        >= 10 => value.Value.ToString("0.0", CultureInfo.InvariantCulture),
        _ => value.Value.ToString("0.00", CultureInfo.InvariantCulture),
    };
}
