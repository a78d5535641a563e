using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>A running qemu-storage-daemon, bound to the back-end's processor with all of its threads.</summary>
internal sealed class StorageDaemonProcess : IAsyncDisposable
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(30);

    private readonly ChildProcess _process;

    private StorageDaemonProcess(ChildProcess process, string command)
    {
        _process = process;
        Command = command;
    }

    internal string Command { get; }

    /// <summary>Starts it and waits until it listens.</summary>
    internal static async Task<StorageDaemonProcess> StartAsync(Workbench bench, StorageDaemonCommand command, string socket)
    {
        string[] words = ["-c", bench.Options.BackendProcessor.ToString(CultureInfo.InvariantCulture), StorageDaemonCommand.Program, .. command.Arguments(socket)];
        string text = $"taskset {string.Join(' ', words)}";
        bench.Log(text);
        StorageDaemonProcess daemon = new(ChildProcess.Start("taskset", words), text);
        for (long started = Environment.TickCount64; !File.Exists(socket); await Task.Delay(5))
        {
            if (!daemon._process.HasExited && Environment.TickCount64 - started < _patience.TotalMilliseconds)
                continue;
            string said = string.Join(" | ", daemon._process.Errors.TakeLast(3));
            await daemon.DisposeAsync();
            throw new BenchException($"'{text}' does not listen: {said} (Debian package {StorageDaemonCommand.Package})");
        }

        return daemon;
    }

    public ValueTask DisposeAsync() => _process.DisposeAsync();
}
