using System.Globalization;
using System.Text.Json;

namespace Vhost.Bench.Compare;

/// <summary>A process of this library's own.</summary>
internal sealed class Ours : IAsyncDisposable
{
    private static readonly string _tool = Path.Combine("src", "Tool", "bin", "Release", "net10.0", "vhost-user.dll");
    private static readonly string _control = Path.Combine("bench", "Control", "bin", "Release", "net10.0", "Vhost.Bench.Control.dll");

    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(30);

    private readonly ChildProcess _process;

    private Ours(ChildProcess process, string command)
    {
        _process = process;
        Command = command;
    }

    /// <summary>As a person types it.</summary>
    internal string Command { get; }

    internal bool HasExited => _process.HasExited;

    /// <summary>What it said when it ended too early; empty while it runs.</summary>
    internal string Ending => _process.HasExited ? $", which said: {string.Join(" | ", _process.Errors.TakeLast(3))}" : "";

    /// <summary>Starts the <c>vhost-user</c> command, with all of its threads on one processor unless that is null.</summary>
    internal static Ours StartTool(Workbench bench, int? processor, params string[] arguments) => Start(bench, processor, _tool, arguments);

    /// <summary>Starts the measurements of what is beside the data path.</summary>
    internal static Ours StartControl(Workbench bench, int? processor, params string[] arguments) => Start(bench, processor, _control, arguments);

    /// <summary>Starts a server and waits until it says that it serves.</summary>
    internal static async Task<Ours> ServeAsync(Workbench bench, int? processor, params string[] arguments)
    {
        Ours server = StartTool(bench, processor, arguments);
        try
        {
            await server._process.ErrorLineAsync("serving");
            return server;
        }
        catch (TimeoutException failure)
        {
            await server.DisposeAsync();
            throw new BenchException($"'{server.Command}' does not serve: {failure.Message}");
        }
    }

    /// <summary>Waits until it says something on standard error.</summary>
    internal async Task SaysAsync(string text)
    {
        try
        {
            await _process.ErrorLineAsync(text);
        }
        catch (TimeoutException failure)
        {
            throw new BenchException($"'{Command}' does not say '{text}': {failure.Message}");
        }
    }

    /// <summary>Waits until its socket is there.</summary>
    internal async Task ListensAsync(string socket)
    {
        for (long started = Environment.TickCount64; !File.Exists(socket); await Task.Delay(5))
        {
            if (HasExited || Environment.TickCount64 - started > _patience.TotalMilliseconds)
                throw new BenchException($"'{Command}' does not listen{Ending}.");
        }
    }

    /// <summary>Waits for its end and reads the object it printed.</summary>
    internal async Task<JsonElement> ResultAsync(TimeSpan within)
    {
        try
        {
            return Read(await _process.EndAsync(within));
        }
        catch (OperationCanceledException)
        {
            throw new BenchException(string.Create(CultureInfo.InvariantCulture, $"'{Command}' did not end within {within.TotalSeconds:0} s."));
        }
    }

    /// <summary>Tells it to end and reads the object it printed.</summary>
    internal async Task<JsonElement> StopAsync() => Read(await _process.TerminateAsync());

    public ValueTask DisposeAsync() => _process.DisposeAsync();

    private static Ours Start(Workbench bench, int? processor, string program, string[] arguments)
    {
        string[] bound = processor is { } number ? ["taskset", "-c", number.ToString(CultureInfo.InvariantCulture)] : [];
        string[] words = [.. bound, "dotnet", Path.GetFullPath(program), .. arguments];
        string command = string.Join(' ', [.. bound, "dotnet", program, .. arguments]);
        bench.Log(command);
        return new Ours(ChildProcess.Start(words[0], words[1..]), command);
    }

    private JsonElement Read(ChildProcess.Outcome outcome)
    {
        if (outcome.ExitCode != 0 || outcome.Output.Count == 0)
            throw BenchException.Of(Command, outcome);
        using JsonDocument document = JsonDocument.Parse(outcome.Output[^1]);
        return document.RootElement.Clone();
    }
}

/// <summary>Figures of an object that one of our processes printed.</summary>
internal static class ResultExtensions
{
    internal static double Figure(this JsonElement result, string name) =>
        result.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number
            ? value.GetDouble()
            : throw new BenchException($"The result has no figure '{name}': {result.GetRawText()}");

    internal static double? FigureOrNull(this JsonElement result, string name) =>
        result.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;
}
