using Vhost.Conformance;

namespace Vhost.Tool;

/// <summary>Runs a suite and prints what it finds while it runs.</summary>
internal sealed class TestOutput(IReadOnlyList<string> reports, string? baseline, bool json)
{
    private readonly ReportFiles _files = new(reports);

    internal static void List(IReadOnlyList<ConformanceCase> cases, bool json)
    {
        foreach (string line in json ? [ConformanceJson.Write(cases)] : cases.Select(ConformanceText.Rule))
            ToolOutput.PrintLine(line);
    }

    /// <summary>The exit code.</summary>
    internal async Task<int> RunAsync(TestRun run, CancellationToken stop)
    {
        _files.Check();
        ConformanceBaseline? earlier = baseline is null ? null : await ReadAsync(baseline, stop);
        Printer? printer = json ? null : new();
        ConformanceReport report;
        try
        {
            printer?.Print(ConformanceText.Header(await run.AskAsync(stop), run.Cases));
            report = await run.RunAsync(printer, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            ToolOutput.PrintError("Interrupted before the first case.");
            return TestExitCode.Stopped;
        }

        return await EndAsync(report, earlier?.Compare(report), printer);
    }

    /// <summary>What could not be printed is the last thing that is told, when the reports are written.</summary>
    private async Task<int> EndAsync(ConformanceReport report, IReadOnlyList<ConformanceDifference>? differences, Printer? printer)
    {
        bool written = await _files.WriteAsync(report);
        if (printer?.Failure is { } failure)
            throw new ToolException(failure.Message, failure);
        foreach (string line in differences?.Select(ConformanceText.Difference) ?? [])
            Tell($"differs: {line}");
        foreach (string line in json ? [ConformanceJson.Write(report)] : ConformanceText.Summary(report))
            ToolOutput.PrintLine(line);
        return written ? Code(report, differences) : TestExitCode.Failure;
    }

    private static int Code(ConformanceReport report, IReadOnlyList<ConformanceDifference>? differences)
    {
        if (report.Stopped)
            return TestExitCode.Stopped;
        if (report.Judged == 0)
            return TestExitCode.NothingJudged;
        if (differences is not null)
            return differences.Count == 0 ? TestExitCode.Success : TestExitCode.Differs;
        return report.Succeeded ? TestExitCode.Success : TestExitCode.Failure;
    }

    private static async Task<ConformanceBaseline> ReadAsync(string path, CancellationToken stop)
    {
        try
        {
            return ConformanceBaseline.Parse(await File.ReadAllTextAsync(path, stop));
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or FormatException)
        {
            throw new ToolException($"--baseline '{path}': {failure.Message}", failure);
        }
    }

    /// <summary>With <c>--json</c>, standard output has one object and nothing else.</summary>
    private void Tell(string line)
    {
        if (json)
            ToolOutput.PrintNotice(line);
        else
            ToolOutput.PrintLine(line);
    }

    /// <summary>A disk that is full, or whoever reads no more, does not end the run: the reports are still to be written.</summary>
    private sealed class Printer : IProgress<ConformanceResult>
    {
        internal IOException? Failure { get; private set; }

        public void Report(ConformanceResult value) => Print(ConformanceText.Finding(value));

        internal void Print(IReadOnlyList<string> lines)
        {
            try
            {
                foreach (string line in Failure is null ? lines : [])
                    ToolOutput.PrintLine(line);
            }
            catch (IOException failure)
            {
                Failure = failure;
            }
        }
    }
}
