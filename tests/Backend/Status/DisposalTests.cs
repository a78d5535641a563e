using Vhost.Protocol;
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

    /// <summary>A program that serves with it all the same would take that for the end of its work.</summary>
    [Fact]
    public async Task Nothing_is_served_afterwards_and_that_is_said()
    {
        using TempSocket socket = new();
        VhostUserBackend backend = new(new EchoDevice());
        await backend.DisposeAsync();
        (VhostUserConnection theirs, VhostUserConnection ours) = VhostUserConnection.CreatePair();
        await using RawFrontend frontend = new(theirs);

        await backend.Awaiting(one => one.ListenAsync(socket.Path)).Should().ThrowAsync<ObjectDisposedException>();
        await backend.Awaiting(one => one.ConnectAsync(socket.Path)).Should().ThrowAsync<ObjectDisposedException>();
        await backend.Awaiting(one => one.ServeAsync(ours)).Should().ThrowAsync<ObjectDisposedException>();
        await frontend.ExpectClosedAsync();
        await using (VhostUserListener listener = VhostUserListener.Listen(socket.Path))
            await backend.Awaiting(one => one.ListenAsync(listener)).Should().ThrowAsync<ObjectDisposedException>();
        socket.Exists.Should().BeFalse();
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
