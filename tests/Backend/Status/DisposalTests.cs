using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Status;

/// <summary>What disposing a back-end has ended when it returns.</summary>
public class DisposalTests
{
    [Fact]
    public async Task The_socket_file_is_gone_and_the_next_one_can_listen_there()
    {
        using TempSocket socket = new();
        for (int round = 0; round < 50; round++)
        {
            VhostUserBackend backend = new(new EchoDevice());
            Task listening = backend.ListenAsync(socket.Path);
            await using (RawFrontend frontend = await RawFrontend.ConnectAsync(socket.Path))
                await frontend.NegotiateAsync();
            await Eventually.TrueAsync(() => !backend.IsConnected);

            await backend.DisposeAsync().InTime();

            socket.Exists.Should().BeFalse("round {0}", round);
            await listening.InTime();
        }
    }

    [Fact]
    public async Task Looking_for_a_front_end_has_ended()
    {
        using TempSocket socket = new();
        VhostUserBackend backend = new(new EchoDevice());
        Task looking = backend.ConnectAsync(socket.Path);

        await backend.DisposeAsync().InTime();

        await looking.InTime();
    }

    [Fact]
    public async Task A_call_that_does_not_end_is_waited_for_a_while_only()
    {
        RunningCalls calls = new();
        IDisposable call = calls.Begin();

        await calls.EndedAsync(TimeSpan.FromMilliseconds(1)).InTime();
        Task ended = calls.EndedAsync(Eventually.Deadline);
        ended.IsCompleted.Should().BeFalse();
        using (calls.Begin())
            call.Dispose();

        await ended.InTime();
        await calls.EndedAsync(TimeSpan.Zero).InTime();
    }
}
