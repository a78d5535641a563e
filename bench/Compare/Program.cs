using System.Runtime.InteropServices;
using Vhost.Bench.Compare;

CompareOptions options;
try
{
    options = CompareOptions.Parse(args);
}
catch (FormatException wrong)
{
    Console.Error.WriteLine($"bench/run.sh: {wrong.Message}");
    return 2;
}

if (options.ShowHelp)
{
    Console.WriteLine(CompareOptions.Help);
    return 0;
}

IReadOnlyList<Contest> contests = Suite.Wanted(options);
if (contests.Count == 0)
{
    Console.Error.WriteLine("bench/run.sh: no row has such a name. See bench/run.sh --list.");
    return 2;
}

if (options.List)
{
    foreach (RowPlan row in contests.SelectMany(contest => contest.Rows).Where(row => options.Wants(row.Name)))
        Console.WriteLine(row.Name);
    return 0;
}

if (Environment.ProcessorCount < 2)
{
    Console.Error.WriteLine("bench/run.sh: two processors are needed; this process may use one.");
    return 1;
}

using CancellationTokenSource stop = new();
using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);
using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
using Workbench bench = new(options);
Machine machine = await Machine.DescribeAsync(bench);
Console.Error.WriteLine($"Peers' memory: {bench.Pages}");
if (machine.Warning is { } busy)
    Console.Error.WriteLine(busy);
ProbeReport probe = ProbeReport.Measure(options.BackendProcessor, options.FrontendProcessor);
Suite suite = new(bench, contests, rows => new CompareReport { Machine = machine, Probe = probe, Rows = rows }.Write(options.Output));
CompareReport report = new() { Machine = machine, Probe = probe, Rows = await suite.RunAsync(stop.Token) };
report.Write(options.Output);
ResultTable.Print(report);
Console.WriteLine($"Written: {options.Output}");
return report.HasFailures || stop.IsCancellationRequested ? 1 : 0;

void OnSignal(PosixSignalContext context)
{
    context.Cancel = true;
    stop.Cancel();
}
