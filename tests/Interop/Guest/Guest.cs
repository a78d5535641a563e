using System.Globalization;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>A Linux guest under QEMU's emulation of a processor. Runs lines of shell, one at a time; QEMU is gone when disposed.</summary>
internal sealed class Guest : IAsyncDisposable
{
    private const string Ready = "@ready ";
    private const int ConsoleLines = 60;

    /// <summary>A boot takes two seconds on a quiet machine.</summary>
    private static readonly TimeSpan _bootDeadline = TimeSpan.FromSeconds(90);
    private static readonly TimeSpan _runDeadline = TimeSpan.FromSeconds(60);

    private readonly TempFolder _folder;
    private readonly ChildProcess _qemu;
    private int _lastCommand;
    private int _read;

    private Guest(TempFolder folder, ChildProcess qemu)
    {
        _folder = folder;
        _qemu = qemu;
    }

    internal GuestMonitor Monitor { get; private set; } = null!;

    /// <summary>What the kernel said on its console.</summary>
    private string ConsolePath => _folder.File("console");

    private string MonitorPath => _folder.File("qmp");

    /// <summary>Starts QEMU and waits until the guest takes commands.</summary>
    internal static Task<Guest> BootAsync(GuestCommand command) => StartAsync(command);

    /// <summary>Starts a QEMU that waits for the guest of another one: <see cref="GuestMonitor.ReceiveAsync"/> says from where it comes.</summary>
    internal static Task<Guest> AwaitAsync(GuestCommand command) => StartAsync(command with { Receives = true });

    private static async Task<Guest> StartAsync(GuestCommand command)
    {
        string program = Peers.Require(GuestCommand.Program, GuestCommand.Package);
        GuestImage image = GuestImage.Require();
        TempFolder folder = new();
        string[] consoles =
        [
            "-display", "none", "-monitor", "none", "-qmp", $"unix:{folder.File("qmp")},server=on,wait=off",
            "-serial", $"file:{folder.File("console")}", "-chardev", "stdio,id=shell,signal=off", "-serial", "chardev:shell",
        ];
        Guest guest = new(folder, ChildProcess.StartInteractive(program, [.. command.Options(image).SelectMany(line => line), .. consoles]));
        try
        {
            if (!command.Receives)
                await guest.BootedAsync();
            guest.Monitor = await GuestMonitor.ConnectAsync(guest.MonitorPath);
            return guest;
        }
        catch
        {
            await guest.DisposeAsync();
            throw;
        }
    }

    /// <summary>Runs a line of shell that must succeed and returns what it printed.</summary>
    internal async Task<string> RunAsync(string command, TimeSpan? within = null)
    {
        GuestResult result = await TryRunAsync(command, within);
        result.ExitCode.Should().Be(0, $"the guest ran: {command}\nand said: {result.Text}\nconsole: {Console()}");
        return result.Text;
    }

    /// <summary>Runs a line of shell.</summary>
    internal async Task<GuestResult> TryRunAsync(string command, TimeSpan? within = null)
    {
        string id = (++_lastCommand).ToString(CultureInfo.InvariantCulture);
        int from = _read;
        await _qemu.SendAsync($"{id} {command}");
        string end = await AnswerAsync($"@{id} ", command, within ?? _runDeadline);
        string[] answer = [.. _qemu.Output.Skip(from).TakeWhile(line => line != end)];
        _read = from + answer.Length + 1;
        return new GuestResult(command, int.Parse(end.AsSpan(id.Length + 2), CultureInfo.InvariantCulture), [.. answer.Where(line => line.Length > 0)]);
    }

    /// <summary>Waits in the guest until a condition of shell holds.</summary>
    internal Task UntilAsync(string condition) => RunAsync($"until {condition}; do sleep 0.05; done");

    /// <summary>Restarts the guest from inside and waits until it takes commands again.</summary>
    internal async Task RebootAsync()
    {
        await _qemu.SendAsync("reboot reboot -f");
        await BootedAsync();
    }

    /// <summary>Waits until a guest that is starting takes commands.</summary>
    internal async Task BootedAsync()
    {
        string ready = await AnswerAsync(Ready, "boot", _bootDeadline);
        _read += _qemu.Output.Skip(_read).TakeWhile(line => line != ready).Count() + 1;
    }

    /// <summary>Ends the guest in order.</summary>
    internal async Task PowerOffAsync()
    {
        await _qemu.SendAsync("off poweroff -f");
        ChildProcess.Outcome outcome = await _qemu.EndAsync();
        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
    }

    public async ValueTask DisposeAsync()
    {
        await _qemu.DisposeAsync();
        if (Monitor is not null)
            await Monitor.DisposeAsync();
        _folder.Dispose();
    }

    private async Task<string> AnswerAsync(string mark, string command, TimeSpan within)
    {
        try
        {
            return await _qemu.OutputLineAsync(mark, _read, within);
        }
        catch (TimeoutException failure)
        {
            string said = string.Join('\n', _qemu.Output.Skip(_read).TakeLast(ConsoleLines));
            throw new TimeoutException($"The guest did not end: {command}\nIt said: {said}\nConsole: {Console()}", failure);
        }
    }

    private string Console() => File.Exists(ConsolePath) ? string.Join('\n', File.ReadLines(ConsolePath).TakeLast(ConsoleLines)) : "";
}
