using Vhost.Frontend;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Who may take over from the back-end of a network device: it may still write to the buffers that were lent to it.</summary>
public sealed class NetTakeoverTests : IDisposable
{
    private readonly TempFolder _folder = new();

    private string SocketPath => _folder.File("s");

    public void Dispose() => _folder.Dispose();

    /// <summary>The session ended on this side; the process behind it is only held up.</summary>
    [Fact]
    public async Task A_process_whose_session_was_broken_off_must_end_before_another_one_takes_over()
    {
        using LogRecorder log = new();
        await using ChildProcess stuck = await ServeAsync();
        await using NetClient net = await NetClient.ConnectAsync(SocketPath, new NetClientOptions { Reconnect = NetSuccession.Quick, LoggerFactory = log });
        stuck.Signal(UnixSignal.Stop);
        File.Delete(SocketPath);
        await using ChildProcess next = await ServeAsync();

        using CancellationTokenSource impatience = new(TimeSpan.FromMilliseconds(100));
        await ((Func<Task>)(() => net.Frontend.ReadConfigAsync(0, new byte[6], impatience.Token).InTime())).Should().ThrowAsync<OperationCanceledException>();
        await Eventually.TrueAsync(() => log.Lines.Any(line => line.Contains($"Process {stuck.Id}, which", StringComparison.Ordinal) && line.Contains("still lives", StringComparison.Ordinal)));
        net.Reconnections.Should().Be(0);

        stuck.Signal(UnixSignal.Kill);
        await Eventually.TrueAsync(() => net.Reconnections == 1);
    }

    private async Task<ChildProcess> ServeAsync()
    {
        ChildProcess server = ToolProcess.Start("serve", "switch", "--port", SocketPath);
        await server.ErrorLineAsync($"serving a port of the switch on {SocketPath}");
        return server;
    }
}
