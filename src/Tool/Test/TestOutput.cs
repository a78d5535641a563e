using System.Globalization;
using Vhost.Conformance;

namespace Vhost.Tool;

/// <summary>Runs a suite and prints what it finds while it runs.</summary>
internal static class TestOutput
{
    internal static int List(IEnumerable<ConformanceCase> cases, string only)
    {
        foreach (ConformanceCase description in cases.Where(description => ConformanceCase.Matches(only, description.Id)))
            ToolOutput.PrintLine($"{description.Id}  [{description.Level.ToString().ToLowerInvariant()}]  {description.Title}");
        return 0;
    }

    internal static async Task<int> RunAsync(Func<IProgress<ConformanceResult>?, Task<ConformanceReport>> run, string[] reports, bool json)
    {
        ConformanceReport report = await run(json ? null : new Printer());
        ToolOutput.PrintLine(json ? ConformanceJson.Write(report) : Totals(report));
        bool written = true;
        foreach (string path in reports)
            written &= await WriteAsync(report, path);
        return report.Succeeded && written ? 0 : 1;
    }

    private static async Task<bool> WriteAsync(ConformanceReport report, string path)
    {
        try
        {
            await ConformanceReportFile.WriteAsync(report, path);
            return true;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            ToolOutput.PrintError($"--report '{path}': {failure.Message}");
            return false;
        }
    }

    private static string Totals(ConformanceReport report) => string.Create(
        CultureInfo.InvariantCulture,
        $"{string.Join(", ", Enum.GetValues<ConformanceVerdict>().Select(verdict => $"{Word(verdict)} {report.CountOf(verdict)}"))} in {report.Elapsed.TotalSeconds:0.0} s");

    private static string Word(ConformanceVerdict verdict) => verdict.ToString().ToUpperInvariant();

    /// <summary>One line a case; of those that failed also the dialogue.</summary>
    private sealed class Printer : IProgress<ConformanceResult>
    {
        public void Report(ConformanceResult value)
        {
            if (value.Verdict is ConformanceVerdict.Skip)
                return;
            ToolOutput.PrintLine($"{Word(value.Verdict),-6} {value.Case.Id}  {value.Elapsed.TotalMilliseconds:0} ms");
            if (value.Verdict is ConformanceVerdict.Pass or ConformanceVerdict.Reject)
                return;
            ToolOutput.PrintLine($"       expected {value.Expected}; {value.Came}");
            foreach (DialogueLine line in value.Dialogue)
                ToolOutput.PrintLine(string.Create(CultureInfo.InvariantCulture, $"       {line.At.TotalMilliseconds,9:0.00} {line.From,-5} {line.Channel}: {line.Text}"));
        }
    }
}
