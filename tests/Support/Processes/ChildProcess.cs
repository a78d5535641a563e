using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Vhost.Tests.Support;

/// <summary>A program started by a test. Its lines are kept, every wait is bounded, and it is gone when disposed.</summary>
public sealed class ChildProcess : IAsyncDisposable
{
    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(30);

    private readonly Process _process;
    private readonly LineBuffer _output = new();
    private readonly LineBuffer _errors = new();
    private bool _disposed;

    private ChildProcess(Process process) => _process = process;

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    /// <summary>Standard output so far.</summary>
    public IReadOnlyList<string> Output => _output.Lines;

    /// <summary>Standard error so far.</summary>
    public IReadOnlyList<string> Errors => _errors.Lines;

    /// <summary>Starts a program that has nothing to read.</summary>
    public static ChildProcess Start(string program, params IEnumerable<string> arguments)
    {
        ChildProcess child = StartInteractive(program, arguments);
        child._process.StandardInput.Close();
        return child;
    }

    /// <summary>Starts a program that takes commands; see <see cref="SendAsync"/>.</summary>
    public static ChildProcess StartInteractive(string program, params IEnumerable<string> arguments)
    {
        ProcessStartInfo start = new(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            UseShellExecute = false,
            WorkingDirectory = Path.GetTempPath(),
        };
        start.Environment["DOTNET_NOLOGO"] = "1";
        Process process = Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start.");
        ChildProcess child = new(process);
        process.OutputDataReceived += (_, line) => child._output.Add(line.Data);
        process.ErrorDataReceived += (_, line) => child._errors.Add(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return child;
    }

    /// <summary>Runs a program to its end.</summary>
    public static async Task<Outcome> RunAsync(string program, params IEnumerable<string> arguments)
    {
        await using ChildProcess child = Start(program, arguments);
        return await child.EndAsync();
    }

    /// <summary>Writes a line to the program's standard input.</summary>
    public async Task SendAsync(string line)
    {
        await _process.StandardInput.WriteLineAsync(line);
        await _process.StandardInput.FlushAsync();
    }

    /// <summary>Waits for a line on standard error that contains a text.</summary>
    public Task<string> ErrorLineAsync(string part) => LineAsync(_errors, part, 0);

    /// <summary>Waits for a line on standard output that contains a text, not looking at the first lines; 30 seconds when no limit is given.</summary>
    public Task<string> OutputLineAsync(string part, int from = 0, TimeSpan? within = null) => LineAsync(_output, part, from, within);

    /// <summary>Waits for the end and for all of the output; 30 seconds when no limit is given.</summary>
    public async Task<Outcome> EndAsync(TimeSpan? within = null)
    {
        using CancellationTokenSource limit = new(within ?? _deadline);
        await _process.WaitForExitAsync(limit.Token);
        return new Outcome(_process.ExitCode, Output, Errors);
    }

    public void Signal(int signal)
    {
        if (kill(_process.Id, signal) != 0)
            throw new InvalidOperationException($"kill({_process.Id}, {signal}) failed: {Marshal.GetLastPInvokeError()}");
    }

    /// <summary>SIGTERM, then the end.</summary>
    public Task<Outcome> TerminateAsync()
    {
        Signal(UnixSignal.Terminate);
        return EndAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        if (!_process.HasExited)
            _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync().WaitAsync(_deadline);
        _process.Dispose();
    }

    private async Task<string> LineAsync(LineBuffer lines, string part, int from, TimeSpan? within = null)
    {
        Task<string> line = lines.FirstAsync(text => text.Contains(part, StringComparison.Ordinal), from);
        await Task.WhenAny(line, _process.WaitForExitAsync(), Task.Delay(within ?? _deadline));
        return line.IsCompletedSuccessfully
            ? await line
            : throw new TimeoutException($"No line with '{part}'; exited: {_process.HasExited}; standard error: {string.Join(" | ", Errors)}");
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int kill(int process, int signal);

    /// <summary>What came of a program.</summary>
    public sealed record Outcome(int ExitCode, IReadOnlyList<string> Output, IReadOnlyList<string> Errors)
    {
        public string OutputText => string.Join('\n', Output);
    }
}
