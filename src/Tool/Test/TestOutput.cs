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
        Printer? printer = json ? null : new(earlier);
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

        IReadOnlyList<ConformanceDifference>? differences = earlier?.Compare(report);
        report = earlier?.Mark(report) ?? report;
        bool kept = await _files.WriteAsync(report);
        kept &= Print(report, differences ?? [], printer?.Failure);
        return Code(report, differences, kept);
    }

    /// <summary>Whether all was printed. What could not be is the last thing that is told, when the reports are written.</summary>
    private bool Print(ConformanceReport report, IReadOnlyList<ConformanceDifference> differences, IOException? before)
    {
        try
        {
            if (before is not null)
                throw before;
            foreach (string line in differences.Select(ConformanceText.Difference))
                Tell($"differs: {line}");
            foreach (string line in json ? [ConformanceJson.Write(report)] : ConformanceText.Summary(report))
                ToolOutput.PrintLine(line);
            return true;
        }
        catch (IOException failure)
        {
            ToolOutput.PrintError(FailureText.Of(failure));
            return false;
        }
    }

    /// <summary>Of several codes that fit the first one: a run that was stopped, then one whose results were lost, then what is new, then that nothing was judged, then what failed.</summary>
    internal static int Code(ConformanceReport report, IReadOnlyList<ConformanceDifference>? differences, bool kept) => report switch
    {
        { Stopped: true } => TestExitCode.Stopped,
        _ when !kept => TestExitCode.Failure,
        _ when differences is { Count: > 0 } => TestExitCode.Differs,
        { Judged: 0 } => TestExitCode.NothingJudged,
        { Succeeded: false } when differences is null => TestExitCode.Failure,
        _ => TestExitCode.Success,
    };

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
    private sealed class Printer(ConformanceBaseline? earlier) : IProgress<ConformanceResult>
    {
        internal IOException? Failure { get; private set; }

        public void Report(ConformanceResult value) => Print(ConformanceText.Finding(earlier?.Mark(value) ?? value));

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
