using System.CommandLine;
using Vhost.Conformance;

namespace Vhost.Tool;

/// <summary>What both suites are asked in the same words.</summary>
internal sealed class TestOptions
{
    internal Option<string> Only { get; } = new("--only") { Description = "Run only these cases: ids, chapters or patterns with * and ?, commas between.", HelpName = "PATTERN", DefaultValueFactory = _ => "*" };

    internal Option<bool> List { get; } = new("--list") { Description = "List the cases and run none." };

    internal Option<string[]> Reports { get; } = ToolOptions.Paths("--report", "Write a report; the ending says which: .html, .xml (JUnit), .tap or .json. May be given more than once.");

    internal Option<bool> Json { get; } = ToolOptions.Json();

    internal void RequireUnlessListed(Command command, Option<string> socket) => command.Validators.Add(result =>
    {
        foreach (string path in (result.GetValue(Reports) ?? []).Where(static path => !ConformanceReportFile.IsKnown(path)))
            result.AddError($"--report '{path}': must end with .html, .xml, .tap or .json.");
        if (!result.GetValue(List) && result.GetResult(socket) is null)
            result.AddError($"Option '{socket.Name}' is required, unless --list is given.");
    });

    internal Task<int> Run(ParseResult line, IReadOnlyList<ConformanceCase> cases, Func<IProgress<ConformanceResult>?, Task<ConformanceReport>> run) => line.GetValue(List)
        ? Task.FromResult(TestOutput.List(cases, line.GetValue(Only)!))
        : TestOutput.RunAsync(run, line.GetValue(Reports) ?? [], line.GetValue(Json));
}
