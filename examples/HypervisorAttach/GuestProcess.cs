using System.Diagnostics;

namespace HypervisorAttach;

/// <summary>This program, started again as the guest.</summary>
internal sealed class GuestProcess : IDisposable
{
    private readonly Process _process;

    private GuestProcess(Process process) => _process = process;

    public static GuestProcess Start(string socket)
    {
        string self = Environment.ProcessPath!;
        bool isHost = Path.GetFileNameWithoutExtension(self) == "dotnet";
        string[] arguments = isHost ? [Environment.GetCommandLineArgs()[0], "guest", socket] : ["guest", socket];
        return new GuestProcess(Process.Start(new ProcessStartInfo(self, arguments) { UseShellExecute = false })!);
    }

    public async Task<int> WaitAsync()
    {
        await _process.WaitForExitAsync();
        return _process.ExitCode;
    }

    public void Dispose()
    {
        if (!_process.HasExited)
            _process.Kill();
        _process.Dispose();
    }
}
