using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Spectre.Console;

namespace Vhost.Tool;

/// <summary>Results go to standard output, everything else to standard error.</summary>
internal static class ToolOutput
{
    private const int WideEnough = 4096;

    private static readonly IAnsiConsole _console = CreateConsole();

    /// <summary>One object, one line.</summary>
    internal static void PrintJson<T>(T value, JsonTypeInfo<T> type) => Console.Out.WriteLine(JsonSerializer.Serialize(value, type));

    internal static void PrintTable(string title, IEnumerable<(string Name, string Value)> rows)
    {
        _console.MarkupLineInterpolated($"[bold]{title}[/]");
        Table table = new() { ShowHeaders = false, Border = TableBorder.Rounded };
        table.AddColumn(new TableColumn("") { NoWrap = true }).AddColumn("");
        foreach ((string name, string value) in rows)
            table.AddRow(Markup.Escape(name), Markup.Escape(value));
        _console.Write(table);
    }

    internal static void PrintLine(string text) => Console.Out.WriteLine(text);

    /// <summary>News of a command that goes on.</summary>
    internal static void PrintNotice(string text) => Console.Error.WriteLine($"{ToolCommand.Name}: {OneLine(text)}");

    /// <summary>Says what takes so long, where somebody looks at a terminal and a moving bar would disturb what is measured.</summary>
    internal static void TellWaiting(string text, bool quiet)
    {
        if (!quiet && !Console.IsOutputRedirected && !Console.IsErrorRedirected)
            PrintNotice(text);
    }

    internal static void PrintError(string text) => Console.Error.WriteLine($"{ToolCommand.Name}: error: {OneLine(text)}");

    /// <summary>Runs work that reports bytes; they are shown while it runs when somebody looks at a terminal.</summary>
    internal static async Task WithProgressAsync(string what, ulong total, bool quiet, Func<Action<ulong>, Task> work)
    {
        if (quiet || Console.IsOutputRedirected || Console.IsErrorRedirected || total == 0)
        {
            await work(static _ => { });
            return;
        }

        await _console.Progress().AutoClear(true).HideCompleted(true).StartAsync(async progress =>
        {
            ProgressTask task = progress.AddTask(Markup.Escape(what), maxValue: total);
            progress.Refresh(); // at once, however short the work is
            await work(done => task.Value = done);
        });
    }

    private static string OneLine(string text) => string.Join(' ', text.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries));

    /// <summary>Nothing is cut or wrapped to a width that a file or a pipe does not have.</summary>
    private static IAnsiConsole CreateConsole()
    {
        if (!Console.IsOutputRedirected)
            return AnsiConsole.Create(new AnsiConsoleSettings());
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors });
        console.Profile.Width = WideEnough;
        return console;
    }
}
