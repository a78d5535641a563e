using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>An image served by <c>vhost-user serve blk</c>, a process that can be killed and started again.</summary>
internal sealed class ServedDisk : IAsyncDisposable
{
    private readonly List<string> _logs = [];
    private readonly string[] _arguments;
    private ChildProcess _server;

    private ServedDisk(ChildProcess server, string socket, string[] arguments)
    {
        _server = server;
        Socket = socket;
        _arguments = arguments;
    }

    internal string Socket { get; }

    /// <summary>Everything that the processes said, those before first.</summary>
    internal IReadOnlyList<string> Log => [.. _logs, .. _server.Errors];

    /// <summary>What each process was told of the in-flight area, in order.</summary>
    internal IReadOnlyList<string> InflightAreas
    {
        get
        {
            const string mark = "in-flight area in ";
            return [.. Log.Where(line => line.Contains(mark, StringComparison.Ordinal)).Select(line => line[line.IndexOf(mark, StringComparison.Ordinal)..])];
        }
    }

    /// <summary>Lines of the log that are warnings or worse.</summary>
    internal IReadOnlyList<string> Complaints => [.. Log.Where(line => line.StartsWith("warn:", StringComparison.Ordinal) || line.StartsWith("fail:", StringComparison.Ordinal) || line.StartsWith("crit:", StringComparison.Ordinal))];

    internal static async Task<ServedDisk> ServeAsync(string image, string socket, int queues = 1, params string[] more)
    {
        string[] arguments = ["--socket-path", socket, "--image", image, "--num-queues", FormattableString.Invariant($"{queues}"), "--log-level", "debug", .. more];
        return new ServedDisk(await ToolProcess.ServeAsync(arguments), socket, arguments);
    }

    /// <summary>SIGKILL, and another process in its place at once.</summary>
    internal async Task KillAndServeAgainAsync()
    {
        _server.Signal(UnixSignal.Kill);
        await _server.EndAsync();
        _logs.AddRange(_server.Errors);
        await _server.DisposeAsync();
        _server = await ToolProcess.ServeAsync(_arguments);
    }

    /// <summary>Ends the process in order.</summary>
    internal async Task StopAsync()
    {
        ChildProcess.Outcome outcome = await _server.TerminateAsync();
        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
    }

    public ValueTask DisposeAsync() => _server.DisposeAsync();
}
