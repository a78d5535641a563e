using System.Globalization;

namespace Vhost.Tests.Support;

/// <summary>A running <c>dpdk-testpmd</c> with one vhost-user port. It forwards from its start on.</summary>
public sealed class Testpmd : IAsyncDisposable
{
    private readonly ChildProcess _process;

    private Testpmd(ChildProcess process, TestpmdCommand command)
    {
        _process = process;
        Command = command;
    }

    public TestpmdCommand Command { get; }

    public bool HasExited => _process.HasExited;

    /// <summary>Everything it has written, first its answers, then its log.</summary>
    public IEnumerable<string> Log => [.. _process.Output, .. _process.Errors];

    /// <summary>The features that its log says were negotiated last; null before that.</summary>
    public ulong? NegotiatedFeatures =>
        (LogValues("negotiated Virtio features: 0x", "").LastOrDefault() ?? LogValues("features after negotiate = ", "").LastOrDefault()) is { } features
            ? ulong.Parse(features, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)
            : null;

    /// <summary>What a front-end's log says about its paths, for example <c>packed ring vectorized Rx</c>.</summary>
    public IReadOnlyList<string> Paths => [.. LogValues("virtio: using ", " path on port")];

    /// <summary>Starts it and waits until it forwards. A front-end that connects needs a back-end that listens.</summary>
    public static async Task<Testpmd> StartAsync(TestpmdCommand command)
    {
        Testpmd testpmd = Start(command);
        try
        {
            await testpmd.ReadyAsync();
            return testpmd;
        }
        catch
        {
            await testpmd.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts it without waiting, as a front-end that listens must be: it is ready when a back-end has connected.</summary>
    public static Testpmd Start(TestpmdCommand command) =>
        new(ChildProcess.StartInteractive("stdbuf", ["-oL", TestpmdCommand.Program, .. command.Arguments]), command);

    /// <summary>Waits until it forwards.</summary>
    public Task ReadyAsync() => _process.OutputLineAsync("nb forwarding cores=");

    /// <summary>
    /// Asks for the figures of its port; the rates are those since it was asked before. While it forwards, packets and bytes are
    /// of different moments.
    /// </summary>
    public async Task<TestpmdStatistics> StatisticsAsync()
    {
        int from = await SendAsync("show port stats 0");
        await _process.OutputLineAsync("Tx-pps:", from);
        return TestpmdStatistics.Parse(_process.Output.Skip(from));
    }

    /// <summary>The MTU of its port.</summary>
    public async Task<int> MtuAsync()
    {
        const string label = "MTU: ";
        int from = await SendAsync("show port info 0");
        string line = await _process.OutputLineAsync(label, from);
        return int.Parse(line[(line.IndexOf(label, StringComparison.Ordinal) + label.Length)..], CultureInfo.InvariantCulture);
    }

    /// <summary>Stops forwarding; packets stay where they are.</summary>
    public async Task StopForwardingAsync()
    {
        int from = await SendAsync("stop");
        await _process.OutputLineAsync("Done.", from);
    }

    public async Task StartForwardingAsync()
    {
        int from = await SendAsync("start");
        await _process.OutputLineAsync("nb forwarding cores=", from);
    }

    /// <summary>Stops its port; forwarding must have been stopped before.</summary>
    public async Task StopPortAsync()
    {
        int from = await SendAsync("port stop 0");
        await _process.OutputLineAsync("Done", from);
    }

    public async Task StartPortAsync()
    {
        int from = await SendAsync("port start 0");
        await _process.OutputLineAsync("Done", from);
    }

    /// <summary>Asks it to end, which closes its port in order.</summary>
    public async Task<ChildProcess.Outcome> QuitAsync()
    {
        await SendAsync("quit");
        return await _process.EndAsync();
    }

    /// <summary>Ends it in the middle of what it does.</summary>
    public void Kill() => _process.Signal(UnixSignal.Kill);

    public async ValueTask DisposeAsync()
    {
        await _process.DisposeAsync();

        // A testpmd that was killed leaves its runtime files.
        string runtime = Path.Combine(Environment.IsPrivilegedProcess ? "/var/run" : Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR") ?? "/tmp", "dpdk", Command.Name);
        if (Directory.Exists(runtime))
            Directory.Delete(runtime, recursive: true);
    }

    /// <summary>Sends a command and returns how many lines there were before its answer.</summary>
    private async Task<int> SendAsync(string command)
    {
        int lines = _process.Output.Count;
        await _process.SendAsync(command);
        return lines;
    }

    /// <summary>What stands between two texts in lines of the log.</summary>
    private IEnumerable<string> LogValues(string before, string after)
    {
        foreach (string line in Log)
        {
            int start = line.IndexOf(before, StringComparison.Ordinal) + before.Length;
            if (start < before.Length)
                continue;
            int end = after.Length == 0 ? line.Length : line.IndexOf(after, start, StringComparison.Ordinal);
            if (end >= 0)
                yield return line[start..end].Trim();
        }
    }
}
