using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

[Collection(ProcessCounts.Name)]
public sealed class ListenerTests
{
    [Fact]
    public async Task Peers_are_accepted_one_after_the_other_and_the_file_is_removed()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using TempSocket socket = new();
        await using (VhostUserListener listener = VhostUserListener.Listen(socket.Path))
        {
            listener.Path.Should().Be(socket.Path);
            for (int i = 0; i < 3; i++)
            {
                Task<VhostUserConnection> accepting = listener.AcceptAsync().InTime();
                await using VhostUserConnection client = await VhostUserConnection.ConnectAsync(socket.Path).InTime();
                await using VhostUserConnection server = await accepting;
                server.Name.Should().Be($"{socket.Path} (process {Environment.ProcessId})");
                client.Name.Should().Be(server.Name);
                await client.SendAsync(Ends.Header(1, 0), default).InTime();
                (await server.ReceiveAsync().InTime())!.Dispose();
            }
        }

        socket.Exists.Should().BeFalse();
        before.AssertBack();
    }

    [Fact]
    public async Task B36_a_storm_of_silent_connections_leaves_nothing_behind()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using TempSocket socket = new();
        await using (VhostUserListener listener = VhostUserListener.Listen(socket.Path))
        {
            for (int round = 0; round < 10; round++)
            {
                List<VhostUserConnection> clients = [];
                for (int i = 0; i < 100; i++) clients.Add(await VhostUserConnection.ConnectAsync(socket.Path).InTime());
                for (int i = 0; i < clients.Count; i++)
                {
                    if (i % 2 == 0) await clients[i].DisposeAsync();
                    await using VhostUserConnection server = await listener.AcceptAsync().InTime();
                    if (i % 2 == 0) (await server.ReceiveAsync().InTime()).Should().BeNull();
                }

                foreach (VhostUserConnection client in clients) await client.DisposeAsync();
            }

            Task<VhostUserConnection> accepting = listener.AcceptAsync().InTime();
            await using VhostUserConnection good = await VhostUserConnection.ConnectAsync(socket.Path).InTime();
            await using VhostUserConnection served = await accepting;
            await good.SendAsync(Ends.Header(1, 0), default).InTime();
            (await served.ReceiveAsync().InTime())!.Dispose();
        }

        before.AssertBack();
    }

    [Fact]
    public async Task B36_a_full_queue_of_waiting_connections_is_retried_and_then_named()
    {
        using TempSocket socket = new();
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path, new VhostUserListenOptions { Backlog = 1 });
        List<VhostUserConnection> waiting = [];
        Func<Task> connect = async () =>
        {
            for (int i = 0; i < 10; i++) waiting.Add(await VhostUserConnection.ConnectAsync(socket.Path).InTime());
        };
        await connect.Should().ThrowAsync<VhostUserDisconnectedException>().WithMessage($"*'{socket.Path}' does not accept connections*");
        waiting.Should().NotBeEmpty();

        Task<VhostUserConnection> retrying = VhostUserConnection.ConnectAsync(
            socket.Path, new VhostUserConnectOptions { RetryFor = Timeout.InfiniteTimeSpan, RetryDelay = TimeSpan.FromMilliseconds(1) }).InTime();
        await (await listener.AcceptAsync().InTime()).DisposeAsync();
        await (await retrying).DisposeAsync();
        foreach (VhostUserConnection one in waiting) await one.DisposeAsync();
    }

    [Fact]
    public async Task B09_without_descriptors_the_peer_stays_in_the_queue_until_there_is_one()
    {
        using TempSocket socket = new();
        FakeTimeProvider clock = new();
        LogRecorder log = new();
        VhostUserListenOptions options = new() { Connection = new VhostUserConnectionOptions { TimeProvider = clock, Logger = log } };
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path, options);
        await using VhostUserConnection client = await VhostUserConnection.ConnectAsync(socket.Path).InTime();
        Task<VhostUserConnection> accepting;
        using (DescriptorLimit.Leaving(0))
        {
            accepting = listener.AcceptAsync().InTime();
            await clock.TimersAsync();
        }

        accepting.IsCompleted.Should().BeFalse();
        log.Lines.Should().ContainSingle().Which.Should().Contain("errno 24");
        clock.Advance(TimeSpan.FromSeconds(1));
        await (await accepting).DisposeAsync();
    }

    [Fact]
    public async Task A_stale_socket_file_is_replaced_and_a_live_one_is_not()
    {
        using TempSocket socket = new();
        LogRecorder log = new();
        using (SafeFileHandle dead = Libc.UnixSocket()) Libc.Bind(dead, UnixSocketAddress.Encode(socket.Path, "path")).Should().Be(0);
        socket.Exists.Should().BeTrue();
        Action keep = () => VhostUserListener.Listen(socket.Path, new VhostUserListenOptions { ReplaceStale = false });
        keep.Should().Throw<VhostUserException>().WithMessage($"*'{socket.Path}'*the file exists*");
        VhostUserListenOptions options = new() { Connection = new VhostUserConnectionOptions { Logger = log } };
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path, options);
        log.Lines.Should().ContainSingle().Which.Should().Contain(socket.Path);
        Action second = () => VhostUserListener.Listen(socket.Path);
        second.Should().Throw<VhostUserException>().WithMessage($"*'{socket.Path}': another process listens on it. End that process*");
        socket.Exists.Should().BeTrue();
    }

    [Fact]
    public async Task Dispose_leaves_a_file_that_is_no_longer_its_own()
    {
        using TempSocket socket = new();
        VhostUserListener first = VhostUserListener.Listen(socket.Path);
        File.Delete(socket.Path);
        await using VhostUserListener second = VhostUserListener.Listen(socket.Path);
        await first.DisposeAsync();
        await first.DisposeAsync();
        socket.Exists.Should().BeTrue();
    }

    [Fact]
    public async Task Permissions_and_group_are_set_before_anybody_can_connect()
    {
        using TempSocket socket = new();
        uint group = Libc.TryGetGroup("root", out uint root) ? root : throw new InvalidOperationException("no group root");
        bool isRoot = Environment.IsPrivilegedProcess;
        VhostUserListenOptions options = new() { Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupWrite };
        await using (VhostUserListener listener = VhostUserListener.Listen(socket.Path, isRoot ? options with { Group = "root" } : options))
        {
            Libc.Status(socket.Path, out FileStatus status).Should().Be(0);
            ((UnixFileMode)(status.Mode & 0x1FF)).Should().Be(options.Mode);
        }

        group.Should().Be(0);
        if (isRoot) await VhostUserListener.Listen(socket.Path, options with { Group = "12345" }).DisposeAsync();
        Action unknown = () => VhostUserListener.Listen(socket.Path, options with { Group = "no such group" });
        unknown.Should().Throw<ArgumentException>().WithMessage("*'no such group'*");
        socket.Exists.Should().BeFalse();
    }

    [Fact]
    public void Paths_that_cannot_be_listened_on_are_named_with_what_to_do()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using TempSocket file = new();
        File.WriteAllText(file.Path, "not a socket");
        Listening(file.Path).Should().Throw<VhostUserException>().WithMessage($"*'{file.Path}': it exists and is not a socket*");
        Listening("/no/such/folder/x.sock").Should().Throw<VhostUserException>().WithMessage("*the folder '/no/such/folder' does not exist*");
        Listening("/proc/x.sock").Should().Throw<VhostUserException>().WithMessage("*'/proc/x.sock'*");
        Listening(new string('x', 108)).Should().Throw<ArgumentException>().WithMessage("*108 bytes*107*");
        Listening("a\0b").Should().Throw<ArgumentException>().WithMessage("*zero*");
        Listening("").Should().Throw<ArgumentException>();
        File.Exists(file.Path).Should().BeTrue();
        before.AssertBack();
    }

    [Fact]
    public async Task Waiting_for_a_peer_can_be_cancelled_and_ends_with_dispose()
    {
        using TempSocket socket = new();
        VhostUserListener listener = VhostUserListener.Listen(socket.Path);
        using CancellationTokenSource source = new();
        Task accepting = listener.AcceptAsync(source.Token).AsTask();
        await source.CancelAsync();
        await ((Func<Task>)(() => accepting.InTime())).Should().ThrowAsync<OperationCanceledException>();
        accepting = listener.AcceptAsync().AsTask();
        await listener.DisposeAsync();
        await ((Func<Task>)(() => accepting.InTime())).Should().ThrowAsync<ObjectDisposedException>();
        Func<Task> later = () => listener.AcceptAsync().InTime();
        await later.Should().ThrowAsync<ObjectDisposedException>();
    }

    private static Action Listening(string path) => () => VhostUserListener.Listen(path);

    [Fact]
    public async Task Of_many_starters_on_one_stale_path_one_listens_and_is_reached()
    {
        const int Rounds = 50, Starters = 8;
        string folder = Directory.CreateTempSubdirectory("vhost-starters").FullName;
        string path = Path.Combine(folder, "s");
        for (int round = 0; round < Rounds; round++)
        {
            using (RawDescriptors.BlockingListener(path))
            {
                // Closed without removing the file.
            }

            using Barrier together = new(Starters);
            Task<VhostUserListener?>[] starting = [.. Enumerable.Range(0, Starters).Select(_ => Task.Factory.StartNew(
                () => StartTogether(path, together), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
            VhostUserListener?[] started = await Task.WhenAll(starting).InTime();
            await using VhostUserListener only = started.Should().ContainSingle(static one => one != null, "round {0}", round).Which!;

            // Looking whether somebody listens left connections of its own.
            await using VhostUserConnection client = await VhostUserConnection.ConnectAsync(path).InTime();
            await client.SendAsync(Ends.Header(1, 0), default).InTime();
            VhostUserMessage? message = null;
            while (message is null)
            {
                await using VhostUserConnection server = await only.AcceptAsync().InTime();
                message = await server.ReceiveAsync().InTime();
            }

            message.Dispose();
        }

        Directory.EnumerateFileSystemEntries(folder).Should().BeEmpty("nothing is left behind");
        Directory.Delete(folder);
    }

    [Fact]
    public async Task A_folder_that_somebody_keeps_locked_delays_a_starter_and_no_more()
    {
        string folder = Directory.CreateTempSubdirectory("vhost-locked").FullName;
        using (FolderLock? other = FolderLock.TryTake(folder))
        {
            other.Should().NotBeNull();
            await using VhostUserListener listener = await Task.Run(() => VhostUserListener.Listen(Path.Combine(folder, "s"))).InTime();
        }

        FolderLock.TryTake(Path.Combine(folder, "none")).Should().BeNull();
        Directory.Delete(folder);
    }

    private static VhostUserListener? StartTogether(string path, Barrier together)
    {
        together.SignalAndWait();
        try
        {
            return VhostUserListener.Listen(path);
        }
        catch (VhostUserException)
        {
            return null;
        }
    }
}
