using System.ComponentModel;
using System.Diagnostics;

namespace Vhost.Conformance;

/// <summary>A front-end that was started for one case, and ends with it.</summary>
internal sealed class FrontendProcess : IAsyncDisposable
{
    private const int FirstSignalCode = 128;
    private const int LastSignal = 64;

    private static readonly TimeSpan _mostForEnd = TimeSpan.FromSeconds(5);

    private readonly Process _shell;
    private readonly LastWords _errors;
    private readonly LastWords _output; // it would wait for somebody who reads

    private FrontendProcess(Process shell)
    {
        (_shell, _errors, _output) = (shell, new LastWords(shell.StandardError.BaseStream), new LastWords(shell.StandardOutput.BaseStream));
    }

    public bool HasEnded => _shell.HasExited;

    /// <summary>The signal that ended it; null: none did.</summary>
    public int? CrashSignal => _shell.HasExited && _shell.ExitCode is > FirstSignalCode and <= FirstSignalCode + LastSignal ? _shell.ExitCode - FirstSignalCode : null;

    /// <summary>Starts a command with <c>/bin/sh -c</c>; of what it prints the last lines of its standard error are kept.</summary>
    /// <exception cref="InvalidOperationException">There is no shell.</exception>
    public static FrontendProcess Start(string command)
    {
        ProcessStartInfo start = new("/bin/sh") { ArgumentList = { "-c", command }, UseShellExecute = false, RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        try
        {
            return new FrontendProcess(Process.Start(start) ?? throw new InvalidOperationException("/bin/sh was not started."));
        }
        catch (Win32Exception failure)
        {
            throw new InvalidOperationException("/bin/sh was not started.", failure);
        }
    }

    /// <summary>What it said last on its standard error.</summary>
    public Task<string[]> LastWordsAsync() => _errors.LinesAsync(HasEnded);

    /// <summary>Waits until it has ended, for a time.</summary>
    public async Task EndedAsync(TimeSpan time)
    {
        using CancellationTokenSource deadline = new(time);
        await _shell.WaitForExitAsync(deadline.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public async ValueTask DisposeAsync()
    {
        if (!_shell.HasExited)
            ProcessTree.Kill(_shell);

        // What it left behind may hold its output for ever.
        await EndedAsync(_mostForEnd).ConfigureAwait(false);
        await _errors.DisposeAsync().ConfigureAwait(false);
        await _output.DisposeAsync().ConfigureAwait(false);
        _shell.Dispose();
    }
}
