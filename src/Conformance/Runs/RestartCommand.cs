using System.ComponentModel;
using System.Diagnostics;

namespace Vhost.Conformance;

/// <summary>Starts a peer again.</summary>
internal static class RestartCommand
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(60);

    /// <summary>Runs a command with <c>/bin/sh -c</c> and waits until it returns; what it leaves running goes on. Null: it ended well; else what went wrong. A command that takes too long, or is
    /// given up, is ended with all that it started.</summary>
    public static async Task<string?> RunAsync(string command, CancellationToken cancellationToken)
    {
        using Process? shell = Start(command);
        if (shell is null)
            return "/bin/sh cannot be started";
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        deadline.CancelAfter(_patience);
        await shell.WaitForExitAsync(deadline.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (shell.HasExited)
            return shell.ExitCode == 0 ? null : $"the restart command ended with {shell.ExitCode}";
        ProcessTree.Kill(shell);
        cancellationToken.ThrowIfCancellationRequested();
        return $"the restart command did not return within {_patience.TotalSeconds:0} s";
    }

    private static Process? Start(string command)
    {
        try
        {
            return Process.Start(new ProcessStartInfo("/bin/sh") { ArgumentList = { "-c", $"exec 0</dev/null 1>&2; {command}" }, UseShellExecute = false });
        }
        catch (Win32Exception)
        {
            return null;
        }
    }
}
