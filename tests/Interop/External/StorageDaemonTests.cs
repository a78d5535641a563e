using System.Text.Json;
using Microsoft.Extensions.Logging;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Interop.Tests.Guests;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>Our front-end against QEMU's storage daemon. Skipped, with the reason, where it is not installed.</summary>
public sealed class StorageDaemonTests : IDisposable
{
    private const int DiskSize = 16 << 20;
    private const int BlockSize = 4096;

    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(10);

    private readonly TempFolder _folder = new();

    private string SocketPath => _folder.File("q.sock");

    private static VhostUserConnectOptions Retry => new() { RetryFor = _patience };

    public void Dispose() => _folder.Dispose();

    [SkippableTheory]
    [InlineData(1, 1)]
    [InlineData(1, 64)]
    [InlineData(4, 1)]
    [InlineData(4, 64)]
    public async Task Blocks_written_through_us_are_in_the_image(int queues, int depth)
    {
        string image = _folder.Image("disk.img", DiskSize);
        string expected = _folder.Data("expected.img", DiskSize, seed: queues * depth);
        byte[] content = await File.ReadAllBytesAsync(expected);
        await using (ChildProcess daemon = await StorageDaemon.ExportAsync(image, SocketPath, queues))
        {
            await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Queues = queues, Connect = Retry });
            disk.QueueCount.Should().Be(queues);
            disk.CapacityBytes.Should().Be(DiskSize);
            await ForEachBlockAsync(content, depth, (offset, block) => disk.WriteAsync((ulong)offset, block));
            await disk.FlushAsync();
            await ForEachBlockAsync(content, depth, async (offset, block) =>
            {
                byte[] read = new byte[BlockSize];
                await disk.ReadAsync((ulong)offset, read);
                read.AsSpan().SequenceEqual(block.Span).Should().BeTrue();
            });
            await disk.DisposeAsync();
            (await daemon.TerminateAsync()).ExitCode.Should().Be(0);
        }

        await StorageDaemon.ShouldEqualAsync(image, expected);
    }

    /// <summary>It does not note the requests it works on: rings are made anew, and what it did not answer is submitted again.</summary>
    [SkippableFact]
    public async Task Writes_that_are_under_way_when_the_daemon_is_killed_end_with_the_next_one()
    {
        string image = _folder.Image("disk.img", DiskSize);
        ChildProcess daemon = await StorageDaemon.ExportAsync(image, SocketPath);
        byte[] content = new byte[DiskSize];
        new Random(1).NextBytes(content);
        await using (BlockClient disk = await BlockClient.ConnectAsync(
            SocketPath, new BlockClientOptions { Connect = Retry, Reconnect = new ReconnectPolicy { Delay = TimeSpan.FromMilliseconds(10) } }))
        {
            int written = 0;
            Task writing = ForEachBlockAsync(content, 16, async (offset, block) =>
            {
                await disk.WriteAsync((ulong)offset, block);
                Interlocked.Increment(ref written);
            });
            for (int kill = 1; kill <= 3; kill++)
            {
                int until = Volatile.Read(ref written) + 20;
                await Eventually.TrueAsync(() => Volatile.Read(ref written) >= until);
                daemon.Signal(UnixSignal.Kill);
                await daemon.DisposeAsync();
                File.Delete(SocketPath);
                daemon = await StorageDaemon.ExportAsync(image, SocketPath);
                await Eventually.TrueAsync(() => disk.Reconnections == kill);
            }

            await writing.InTime();
            await disk.FlushAsync().InTime();
        }

        await using (daemon)
            await daemon.TerminateAsync();
        (await File.ReadAllBytesAsync(image)).AsSpan().SequenceEqual(content).Should().BeTrue();
    }

    /// <summary>It does not note the requests it works on, so nobody could go on with them but on rings that are made anew.</summary>
    [SkippableFact]
    public async Task A_client_that_would_reconnect_says_at_once_that_it_cannot_and_ends_with_the_daemon()
    {
        LogRecorder log = new(LogLevel.Warning);
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(_folder.Image("disk.img", DiskSize), SocketPath);
        await using BlockClient disk = await BlockClient.ConnectAsync(
            SocketPath, new BlockClientOptions { Connect = Retry, Reconnect = new ReconnectPolicy { RebuildRings = false }, LoggerFactory = log });
        await disk.WriteAsync(0, new byte[BlockSize]);
        log.Lines.Should().ContainSingle(line => line.Contains("INFLIGHT_SHMFD", StringComparison.Ordinal));

        daemon.Signal(UnixSignal.Kill);

        await ((Func<Task>)(() => disk.Completion.InTime())).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [SkippableFact]
    public async Task Qemu_io_reads_what_the_command_wrote_and_the_other_way_round()
    {
        string image = _folder.Image("disk.img", DiskSize);
        (await StorageDaemon.IoAsync(image, "write -P 0x5a 4M 1M")).ExitCode.Should().Be(0);
        await File.WriteAllBytesAsync(_folder.File("in"), Enumerable.Repeat((byte)0xa5, 1 << 20).ToArray());
        await using (ChildProcess daemon = await StorageDaemon.ExportAsync(image, SocketPath))
        {
            await ToolProcess.JsonAsync("blk", "write", "--socket", SocketPath, "--offset", "8M", "--input", _folder.File("in"));
            await ToolProcess.JsonAsync("blk", "read", "--socket", SocketPath, "--offset", "4M", "--length", "1M", "--output", _folder.File("out"));
            await daemon.TerminateAsync();
        }

        (await File.ReadAllBytesAsync(_folder.File("out"))).Should().OnlyContain(value => value == 0x5a).And.HaveCount(1 << 20);
        ChildProcess.Outcome outcome = await StorageDaemon.IoAsync(image, "read -P 0xa5 8M 1M");
        outcome.ExitCode.Should().Be(0);
        outcome.OutputText.Should().NotContain("verification failed").And.Contain("1 MiB");
    }

    [SkippableFact]
    public async Task Discard_and_write_zeroes_clear_the_image()
    {
        string image = _folder.Data("disk.img", DiskSize);
        byte[] expected = await File.ReadAllBytesAsync(image);
        expected.AsSpan(1 << 20, 1 << 20).Clear();
        await File.WriteAllBytesAsync(_folder.File("expected.img"), expected);
        await using (ChildProcess daemon = await StorageDaemon.ExportAsync(image, SocketPath))
        {
            await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Connect = Retry });
            await disk.WriteZeroesAsync(1 << 20, 1 << 20);
            await disk.DiscardAsync(1 << 20, 1 << 19);
            await disk.FlushAsync();
            await disk.DisposeAsync();
            await daemon.TerminateAsync();
        }

        await StorageDaemon.ShouldEqualAsync(image, _folder.File("expected.img"));
    }

    [SkippableFact]
    public async Task Probe_describes_the_daemon()
    {
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(_folder.Image("disk.img", DiskSize), SocketPath, queues: 4);

        JsonElement report = await ToolProcess.JsonAsync("probe", "--socket", SocketPath);

        JsonElement negotiation = report.GetProperty("negotiation");
        negotiation.GetProperty("queues_got").GetInt32().Should().Be(4);
        negotiation.GetProperty("memory_mode").GetString().Should().Be("slots");
        negotiation.GetProperty("protocol_acknowledged").EnumerateArray().Select(name => name.GetString()).Should().Contain(["MQ", "REPLY_ACK", "CONFIG", "CONFIGURE_MEM_SLOTS"]);
        JsonElement block = report.GetProperty("block");
        block.GetProperty("capacity_bytes").GetInt64().Should().Be(DiskSize);
        block.GetProperty("queues").GetInt32().Should().Be(4);
        block.GetProperty("read_only").GetBoolean().Should().BeFalse();
    }

    /// <summary>What the support tables of README.md say of it.</summary>
    [SkippableFact]
    [Shows(
        Counterpart.StorageDaemon,
        VhostUserRequest.GetFeatures, VhostUserRequest.SetFeatures, VhostUserRequest.SetOwner, VhostUserRequest.SetVringNum, VhostUserRequest.SetVringAddr,
        VhostUserRequest.SetVringBase, VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.GetProtocolFeatures,
        VhostUserRequest.SetProtocolFeatures, VhostUserRequest.SetVringEnable, VhostUserRequest.GetQueueNum, VhostUserRequest.SetBackendReqFd,
        VhostUserRequest.GetConfig, VhostUserRequest.GetMaxMemSlots, VhostUserProtocolFeatures.MultiQueue, VhostUserProtocolFeatures.ReplyAck,
        VhostUserProtocolFeatures.BackendReq, VhostUserProtocolFeatures.Config, VhostUserProtocolFeatures.ConfigureMemSlots, VirtioFeatures.Version1)]
    public async Task Everything_that_is_claimed_of_it_is_said_and_acknowledged()
    {
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(_folder.Image("disk.img", DiskSize), SocketPath, queues: 2);
        await using Interposer between = new(_folder.File("between.sock"), SocketPath);
        await using BlockClient disk = await BlockClient.ConnectAsync(between.Socket, new BlockClientOptions { Queues = 2, Connect = Retry });
        InterposedSession session = await between.SessionAsync();

        await disk.ReadAsync(0, new byte[BlockSize]);

        session.ShouldShow(Claims.OfTest<StorageDaemonTests>());
    }

    [SkippableFact]
    public async Task Read_only_export_is_read_only()
    {
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(_folder.Image("disk.img", DiskSize), SocketPath, writable: false);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Connect = Retry });

        disk.IsReadOnly.Should().BeTrue();
        await disk.ReadAsync(0, new byte[BlockSize]);
        await FluentActions.Awaiting(() => disk.WriteAsync(0, new byte[BlockSize]).InTime()).Should().ThrowAsync<InvalidOperationException>();
    }

    [SkippableFact]
    public async Task Verify_and_bench_commands_work_against_the_daemon()
    {
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(_folder.Image("disk.img", DiskSize), SocketPath, queues: 2);

        (await ToolProcess.JsonAsync("blk", "verify", "--socket", SocketPath, "--queues", "2")).GetProperty("bytes_verified").GetInt64().Should().Be(DiskSize);
        (await ToolProcess.JsonAsync("blk", "bench", "--socket", SocketPath, "--seconds", "1", "--queue-depth", "32", "--poll")).GetProperty("iops").GetInt64().Should().BePositive();
    }

    [SkippableFact]
    public async Task Image_served_by_the_daemon_is_refused_by_us()
    {
        string image = _folder.Image("disk.img", DiskSize);
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(image, SocketPath);

        FluentActions.Invoking(() => FileStorage.Open(image)).Should().Throw<BlockStorageException>().Which.Message.Should().Contain(image).And.Contain("in use");
        (await ToolProcess.RunAsync("serve", "blk", "--socket-path", _folder.File("s"), "--image", image)).ShouldFail(exitCode: 1).Should().Contain(image);
    }

    [SkippableFact]
    public async Task Image_served_by_us_is_refused_by_the_daemon()
    {
        string image = _folder.Image("disk.img", DiskSize);
        Peers.Require("qemu-storage-daemon", "qemu-system-common");
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", _folder.File("s"), "--image", image);
        await using ChildProcess daemon = StorageDaemon.Start($"driver=file,node-name=d0,filename={image}", SocketPath, 1, writable: true);

        ChildProcess.Outcome outcome = await daemon.EndAsync();

        outcome.ExitCode.Should().NotBe(0);
        string.Join(' ', outcome.Errors).Should().Contain("lock");
    }

    [SkippableFact]
    public async Task Killed_daemon_is_a_typed_error_for_everything_outstanding()
    {
        await using ChildProcess daemon = await StorageDaemon.ExportSlowNullAsync(SocketPath, latency: TimeSpan.FromSeconds(20));
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Connect = Retry });
        Task[] outstanding = [.. Enumerable.Range(0, 64).Select(i => disk.ReadAsync((ulong)i * BlockSize, new byte[BlockSize]).AsTask())];

        daemon.Signal(UnixSignal.Kill);

        foreach (Task request in outstanding)
            await FluentActions.Awaiting(() => request.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        await FluentActions.Awaiting(() => disk.Completion.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        await FluentActions.Awaiting(() => disk.FlushAsync().InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [SkippableFact]
    public async Task Daemon_killed_while_requests_flow_is_a_typed_error()
    {
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(_folder.Image("disk.img", DiskSize), SocketPath, queues: 4);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Queues = 4, Connect = Retry });
        int done = 0;
        Task[] loops = [.. Enumerable.Range(0, 64).Select(i => Task.Run(async () =>
        {
            byte[] block = new byte[BlockSize];
            while (true)
            {
                await disk.WriteAsync((ulong)i * BlockSize, block);
                Interlocked.Increment(ref done);
            }
        }))];
        await Eventually.TrueAsync(() => Volatile.Read(ref done) > 1000);

        daemon.Signal(UnixSignal.Kill);

        foreach (Task loop in loops)
            await FluentActions.Awaiting(() => loop.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [SkippableFact]
    public async Task Stopped_daemon_is_a_time_out()
    {
        const int stop = 19;
        await using ChildProcess daemon = await StorageDaemon.ExportAsync(_folder.Image("disk.img", DiskSize), SocketPath);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Connect = Retry, RequestTimeout = TimeSpan.FromMilliseconds(400) });
        await disk.ReadAsync(0, new byte[BlockSize]);

        daemon.Signal(stop);

        await FluentActions.Awaiting(() => disk.ReadAsync(0, new byte[BlockSize]).InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
    }

    /// <summary>Calls an action for every block of the content, in a scattered order, a number of them at a time.</summary>
    private static async Task ForEachBlockAsync(byte[] content, int depth, Func<int, ReadOnlyMemory<byte>, ValueTask> action)
    {
        int[] order = Enumerable.Range(0, content.Length / BlockSize).ToArray();
        new Random(content.Length + depth).Shuffle(order);
        int next = -1;
        await Task.WhenAll(Enumerable.Range(0, depth).Select(_ => Task.Run(async () =>
        {
            for (int i = Interlocked.Increment(ref next); i < order.Length; i = Interlocked.Increment(ref next))
            {
                int offset = order[i] * BlockSize;
                await action(offset, content.AsMemory(offset, BlockSize));
            }
        }))).WaitAsync(TimeSpan.FromMinutes(2));
    }
}
