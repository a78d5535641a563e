using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

[Collection(ProcessCounts.Name)]
public sealed class ConnectTests
{
    [Fact]
    public async Task A_missing_peer_is_named_with_what_to_do()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using TempSocket socket = new();
        VhostUserDisconnectedException missing = (await Connecting(socket.Path).Should().ThrowAsync<VhostUserDisconnectedException>()
            .WithMessage($"There is no socket at '{socket.Path}'. Start the peer*")).Which;
        missing.ShouldReconnect.Should().BeTrue();
        missing.InnerException.Should().BeOfType<LinuxException>().Which.Errno.Should().Be(Libc.ENOENT);
        await File.WriteAllTextAsync(socket.Path, "");
        await Connecting(socket.Path).Should().ThrowAsync<VhostUserDisconnectedException>().WithMessage($"Nobody listens on '{socket.Path}'*");
        await Connecting("/proc/self/status/x").Should().ThrowAsync<VhostUserException>().WithMessage("Cannot connect to '/proc/self/status/x'.");
        await Connecting(new string('ä', 54)).Should().ThrowAsync<ArgumentException>().WithMessage("*108 bytes*107*");
        before.AssertBack();
    }

    [Fact]
    public async Task Retrying_waits_for_the_peer_and_gives_up_at_the_deadline()
    {
        using TempSocket socket = new();
        FakeTimeProvider clock = new();
        LogRecorder log = new();
        VhostUserConnectOptions options = new()
        {
            RetryFor = TimeSpan.FromSeconds(1),
            RetryDelay = TimeSpan.FromMilliseconds(400),
            TimeProvider = clock,
            Logger = log,
        };
        Task<VhostUserConnection> connecting = VhostUserConnection.ConnectAsync(socket.Path, options).InTime();
        foreach (int pause in (int[])[400, 400, 200])
        {
            await clock.TimersAsync();
            clock.Advance(TimeSpan.FromMilliseconds(pause - 1));
            connecting.IsCompleted.Should().BeFalse();
            clock.Advance(TimeSpan.FromMilliseconds(1));
        }

        await ((Func<Task>)(() => connecting)).Should().ThrowAsync<VhostUserDisconnectedException>().WithMessage("*waited 1 s*");
        log.Lines.Should().HaveCount(3);

        connecting = VhostUserConnection.ConnectAsync(socket.Path, options).InTime();
        await clock.TimersAsync();
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path);
        clock.Advance(TimeSpan.FromMilliseconds(400));
        await (await connecting).DisposeAsync();
    }

    [Fact]
    public async Task B09_without_descriptors_connecting_is_tried_again_where_trying_is_wanted_and_names_them_where_not()
    {
        using TempSocket socket = new();
        FakeTimeProvider clock = new();
        Exception? failure = await Record.ExceptionAsync(async () => await VhostUserConnection.ConnectAsync(socket.Path)); // what a failure opens once
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path);
        VhostUserConnectOptions options = new() { RetryFor = Timeout.InfiniteTimeSpan, TimeProvider = clock };
        Task<VhostUserConnection> connecting;
        using (DescriptorLimit.Leaving(0))
        {
            failure = await Record.ExceptionAsync(async () => await VhostUserConnection.ConnectAsync(socket.Path));
            connecting = VhostUserConnection.ConnectAsync(socket.Path, options).InTime();
            await clock.TimersAsync();
        }

        failure.Should().BeOfType<VhostUserException>().Which.Message.Should().Contain(socket.Path).And.Contain("no file descriptor is left");
        connecting.IsCompleted.Should().BeFalse();
        clock.Advance(TimeSpan.FromSeconds(1));
        await (await connecting).DisposeAsync();
    }

    [Fact]
    public async Task Retrying_can_be_cancelled()
    {
        using TempSocket socket = new();
        using CancellationTokenSource source = new();
        FakeTimeProvider clock = new();
        VhostUserConnectOptions options = new() { RetryFor = Timeout.InfiniteTimeSpan, TimeProvider = clock };
        Task connecting = VhostUserConnection.ConnectAsync(socket.Path, options, source.Token).AsTask();
        await clock.TimersAsync();
        await source.CancelAsync();
        await ((Func<Task>)(() => connecting.InTime())).Should().ThrowAsync<OperationCanceledException>();
    }

    [Fact]
    public async Task Connected_and_listening_sockets_can_be_adopted()
    {
        using TempSocket socket = new();
        (SafeFileHandle first, SafeFileHandle second) = Libc.UnixSocketPair();
        InheritedSocket.Inspect(first).Should().Be(InheritedSocketKind.Connected);
        await using VhostUserConnection one = VhostUserConnection.Adopt(first);
        await using VhostUserConnection two = VhostUserConnection.Adopt(second);
        await one.SendAsync(Ends.Header(1, 0), default).InTime();
        (await two.ReceiveAsync().InTime())!.Dispose();

        SafeFileHandle listening = RawDescriptors.BlockingListener(socket.Path);
        InheritedSocket.Inspect(listening).Should().Be(InheritedSocketKind.Listening);
        await using (VhostUserListener listener = VhostUserListener.Adopt(listening))
        {
            listener.Path.Should().BeNull();
            Task<VhostUserConnection> accepting = listener.AcceptAsync().InTime();
            await using VhostUserConnection client = await VhostUserConnection.ConnectAsync(socket.Path).InTime();
            await using VhostUserConnection server = await accepting;
            server.Name.Should().StartWith("adopted listener");
        }

        socket.Exists.Should().BeTrue("whoever made the file removes it");
    }

    [Fact]
    public async Task A_peer_that_is_gone_already_can_be_adopted_and_shows_its_end()
    {
        (SafeFileHandle first, SafeFileHandle second) = Libc.UnixSocketPair();
        second.Dispose();
        await using VhostUserConnection connection = VhostUserConnection.Adopt(first);
        (await connection.ReceiveAsync().InTime()).Should().BeNull();
    }

    [Fact]
    public void What_is_no_such_socket_is_refused_by_name_and_closed()
    {
        using TempSocket socket = new();
        SafeFileHandle listening = RawDescriptors.BlockingListener(socket.Path);
        listening.Invoking(one => VhostUserConnection.Adopt(one)).Should().Throw<ArgumentException>().WithMessage("*connected*; it is a listening socket*");
        listening.IsClosed.Should().BeTrue();
        (SafeFileHandle first, SafeFileHandle second) = Libc.UnixSocketPair();
        using (second) first.Invoking(one => VhostUserListener.Adopt(one)).Should().Throw<ArgumentException>().WithMessage("*listening*; it is a connected socket*");
        SafeFileHandle lonely = Libc.UnixSocket();
        InheritedSocket.Inspect(lonely).Should().Be(InheritedSocketKind.None);
        lonely.Invoking(one => VhostUserConnection.Adopt(one)).Should().Throw<ArgumentException>().WithMessage("*it is: Socket socket:*");
        SafeFileHandle file = File.OpenHandle("/dev/null");
        InheritedSocket.Inspect(file).Should().Be(InheritedSocketKind.None);
        file.Invoking(one => VhostUserConnection.Adopt(one)).Should().Throw<ArgumentException>().WithMessage("*it is: CharacterDevice /dev/null*");
    }

    [Fact]
    public async Task A_socket_of_another_type_is_named()
    {
        using TempSocket socket = new();
        using SafeFileHandle datagram = RawDescriptors.DatagramSocket(socket.Path);
        await Connecting(socket.Path).Should().ThrowAsync<VhostUserException>().WithMessage("*socket of another type*");
    }

    private static Func<Task> Connecting(string path) => () => VhostUserConnection.ConnectAsync(path).InTime();
}
