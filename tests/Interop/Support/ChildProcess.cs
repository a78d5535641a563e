using System.Diagnostics;
using System.Runtime.InteropServices;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A program started by a test. Its lines are kept, every wait is bounded, and it is gone when disposed.</summary>
internal sealed class ChildProcess : IAsyncDisposable
{
    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(30);

    private readonly Process _process;
    private readonly LineBuffer _output = new();
    private readonly LineBuffer _errors = new();

    private ChildProcess(Process process) => _process = process;

    internal int Id => _process.Id;

    /// <summary>Standard output so far.</summary>
    internal IReadOnlyList<string> Output => _output.Lines;

    /// <summary>Standard error so far.</summary>
    internal IReadOnlyList<string> Errors => _errors.Lines;

    internal static ChildProcess Start(string program, params IEnumerable<string> arguments)
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
        process.StandardInput.Close();
        ChildProcess child = new(process);
        process.OutputDataReceived += (_, line) => child._output.Add(line.Data);
        process.ErrorDataReceived += (_, line) => child._errors.Add(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return child;
    }

    /// <summary>Runs a program to its end.</summary>
    internal static async Task<Outcome> RunAsync(string program, params IEnumerable<string> arguments)
    {
        await using ChildProcess child = Start(program, arguments);
        return await child.EndAsync();
    }

    /// <summary>Waits for a line on standard error that contains a text.</summary>
    internal async Task<string> ErrorLineAsync(string part)
    {
        Task<string> line = _errors.FirstWithAsync(part);
        await Task.WhenAny(line, _process.WaitForExitAsync(), Task.Delay(_deadline));
        return line.IsCompletedSuccessfully
            ? await line
            : throw new TimeoutException($"No line with '{part}'; exited: {_process.HasExited}; standard error: {string.Join(" | ", Errors)}");
    }

    /// <summary>Waits for the end and for all of the output.</summary>
    internal async Task<Outcome> EndAsync()
    {
        using CancellationTokenSource limit = new(_deadline);
        await _process.WaitForExitAsync(limit.Token);
        return new Outcome(_process.ExitCode, Output, Errors);
    }

    internal void Signal(int signal)
    {
        if (kill(_process.Id, signal) != 0)
            throw new InvalidOperationException($"kill({_process.Id}, {signal}) failed: {Marshal.GetLastPInvokeError()}");
    }

    /// <summary>SIGTERM, then the end.</summary>
    internal Task<Outcome> TerminateAsync()
    {
        Signal(UnixSignal.Terminate);
        return EndAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
            _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync().InTime();
        _process.Dispose();
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int kill(int process, int signal);

    /// <summary>What came of a program.</summary>
    internal sealed record Outcome(int ExitCode, IReadOnlyList<string> Output, IReadOnlyList<string> Errors)
    {
        internal string OutputText => string.Join('\n', Output);
    }

    private sealed class LineBuffer
    {
        private readonly Lock _gate = new();
        private readonly List<string> _lines = [];
        private readonly List<(string Part, TaskCompletionSource<string> Found)> _waiting = [];

        internal IReadOnlyList<string> Lines
        {
            get
            {
                lock (_gate)
                    return [.. _lines];
            }
        }

        internal void Add(string? line)
        {
            if (line is null)
                return;
            lock (_gate)
            {
                _lines.Add(line);
                foreach ((string part, TaskCompletionSource<string> found) in _waiting)
                {
                    if (line.Contains(part, StringComparison.Ordinal))
                        found.TrySetResult(line);
                }
            }
        }

        internal Task<string> FirstWithAsync(string part)
        {
            TaskCompletionSource<string> found = new(TaskCreationOptions.RunContinuationsAsynchronously);
            lock (_gate)
            {
                if (_lines.Find(line => line.Contains(part, StringComparison.Ordinal)) is { } line)
                    found.SetResult(line);
                else
                    _waiting.Add((part, found));
            }

            return found.Task;
        }
    }
}

/// <summary>Numbers of signals on Linux.</summary>
internal static class UnixSignal
{
    internal const int HangUp = 1;
    internal const int Interrupt = 2;
    internal const int Kill = 9;
    internal const int Terminate = 15;
}
