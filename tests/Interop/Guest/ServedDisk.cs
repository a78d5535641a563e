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

    /// <summary>The number of the process that serves.</summary>
    internal int ProcessId => _server.Id;

    /// <summary>Bytes of memory that it has touched.</summary>
    internal long Resident => long.Parse(File.ReadAllText($"/proc/{ProcessId}/statm").Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture) * Environment.SystemPageSize;

    /// <summary>Descriptors that the process has open.</summary>
    internal int Descriptors => Directory.EnumerateFileSystemEntries($"/proc/{ProcessId}/fd").Count();

    /// <summary>Pieces of other processes' memory that it has mapped.</summary>
    internal int Mappings => File.ReadLines($"/proc/{ProcessId}/maps").Count(line => line.Contains("memfd:memory-backend", StringComparison.Ordinal) || line.Contains("memfd:test", StringComparison.Ordinal));

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
