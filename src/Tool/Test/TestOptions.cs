using System.CommandLine;
using Vhost.Conformance;

namespace Vhost.Tool;

/// <summary>What both suites are asked in the same words.</summary>
internal sealed class TestOptions(IReadOnlyList<ConformanceCase> cases)
{
    internal Option<string> Only { get; } = new("--only") { Description = "Run only these cases: ids, chapters or patterns with * and ?, commas between.", HelpName = "PATTERN", DefaultValueFactory = _ => "*" };

    internal Option<bool> List { get; } = new("--list") { Description = "List the cases and run none." };

    internal Option<string[]> Reports { get; } = ToolOptions.Paths("--report", "Write a report; the ending says which: .html, .xml (JUnit), .tap or .json. May be given more than once.");

    internal Option<string> Baseline { get; } = ToolOptions.Path("--baseline", "Report in JSON of an earlier run: only verdicts and severities that differ from it count, and are listed; what it has found too is known, and no failure. Exit code 4: there is one.");

    internal Option<bool> Json { get; } = ToolOptions.Json();

    internal static Option<string> Device(string description, IReadOnlyList<string> devices)
    {
        Option<string> option = new("--device") { Description = $"{description}: {string.Join(", ", devices)}.", HelpName = "KIND", DefaultValueFactory = _ => devices[0] };
        option.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<string>() is { } device && !devices.Contains(device, StringComparer.Ordinal))
                result.AddError($"--device '{device}': must be one of {string.Join(", ", devices)}.");
        });
        return option;
    }

    internal static Option<decimal> Timeout(string description, decimal standard) =>
        ToolOptions.Seconds("--timeout", description, ConformanceLimits.ShortestTimeout, ConformanceLimits.LongestTimeout, standard);

    internal void Check(Command command, Option<string> socket)
    {
        command.Validators.Add(result =>
        {
            foreach (string path in (result.GetValue(Reports) ?? []).Where(static path => !ConformanceReportFile.IsKnown(path)))
                result.AddError($"--report '{path}': must end with .html, .xml, .tap or .json.");
            if (!result.GetValue(List) && result.GetResult(socket) is null)
                result.AddError($"Option '{socket.Name}' is required, unless --list is given.");
        });
        Only.Validators.Add(result =>
        {
            try
            {
                ConformanceCase.Select(cases, result.GetValueOrDefault<string>() ?? "");
            }
            catch (ArgumentException nothing)
            {
                result.AddError($"--only: {FailureText.Of(nothing)}");
            }
        });
    }

    internal Task<int> RunAsync(ParseResult line, Func<TestRun> prepare, CancellationToken stop)
    {
        if (!line.GetValue(List))
            return new TestOutput(line.GetValue(Reports) ?? [], line.GetValue(Baseline), line.GetValue(Json)).RunAsync(prepare(), stop);
        TestOutput.List(ConformanceCase.Select(cases, line.GetValue(Only)!), line.GetValue(Json));
        return Task.FromResult(TestExitCode.Success);
    }
}
