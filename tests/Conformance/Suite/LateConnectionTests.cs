using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>Connections that the front-end of the last case has left behind are dropped, but not for longer than the timeout.</summary>
public sealed class LateConnectionTests
{
    private const int Waiting = 50;

    [Fact]
    public async Task One_that_connects_without_end_does_not_keep_the_run()
    {
        (VhostUserListener listener, List<VhostUserConnection> late) = await ManyAsync(TimeSpan.FromTicks(1));
        await using VhostUserListener owned = listener;

        listener.HasWaiting.Should().BeTrue("the time was over before all were dropped");
        await DisposeAsync(late);
    }

    [Fact]
    public async Task Those_that_are_there_in_time_are_all_dropped()
    {
        (VhostUserListener listener, List<VhostUserConnection> late) = await ManyAsync(TimeSpan.FromSeconds(2));
        await using VhostUserListener owned = listener;

        listener.HasWaiting.Should().BeFalse();
        await DisposeAsync(late);
    }

    /// <summary>A case is run while many connections wait.</summary>
    private static async Task<(VhostUserListener Listener, List<VhostUserConnection> Late)> ManyAsync(TimeSpan timeout)
    {
        using TempSocket socket = new();
        VhostUserListener listener = VhostUserListener.Listen(socket.Path, new VhostUserListenOptions { Backlog = Waiting });
        List<VhostUserConnection> late = [];
        while (late.Count < Waiting)
            late.Add(await VhostUserConnection.ConnectAsync(socket.Path));
        FrontendSuiteOptions options = new() { SocketPath = socket.Path, StartCommand = "exec sleep 1000", Timeout = timeout };
        await using FrontendExamination examination = new(options, listener);
        await examination.RunAsync(new(new("late/case", "late", "A case", "", ConformanceLevel.Must), static _ => Task.CompletedTask), default).InTime();
        return (listener, late);
    }

    private static async Task DisposeAsync(List<VhostUserConnection> connections)
    {
        foreach (VhostUserConnection connection in connections)
            await connection.DisposeAsync();
    }
}
