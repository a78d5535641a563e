using System.Buffers.Binary;
using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A client that goes on when its back-end is lost.</summary>
public sealed class BlockReconnectTests : IDisposable
{
    private const int BlockLength = 4096;

    /// <summary>Guest address of memory of the test's own.</summary>
    private const ulong Own = 0x1_0000;

    private static readonly ReconnectPolicy _quick = new() { Delay = TimeSpan.FromMilliseconds(5) };

    /// <summary>Notes requests nowhere, and does not wait for them when it ends.</summary>
    private static readonly VhostUserBackendOptions _forgetful = new()
    {
        WithheldProtocolFeatures = VhostUserProtocolFeatures.InflightShmFd,
        DrainTimeout = TimeSpan.FromMilliseconds(50),
    };

    private readonly TempFolder _folder = new();

    /// <summary>Writes that have ended.</summary>
    private long _writes;

    private string SocketPath => _folder.File("s");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(VirtioFeatures.EventIndex)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task Writes_that_are_under_way_when_the_back_end_is_killed_end_as_if_nothing_had_happened(VirtioFeatures ring)
    {
        const int Kills = 5;
        const int Writers = 8;
        string image = _folder.Image("i", Writers * 64 * BlockLength);
        ChildProcess server = await ServeAsync(image);
        ulong[][] written;
        await using (BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Reconnect = _quick, RingFeatures = ring }))
        {
            using CancellationTokenSource enough = new();
            Task<ulong[]>[] writers = [.. Enumerable.Range(0, Writers).Select(number => WriteAsync(disk, number, enough.Token))];
            for (int kill = 1; kill <= Kills; kill++)
            {
                long enoughTraffic = Volatile.Read(ref _writes) + 100;
                await Eventually.TrueAsync(() => Volatile.Read(ref _writes) >= enoughTraffic);
                server.Signal(UnixSignal.Kill);
                await server.DisposeAsync();
                server = await ServeAsync(image);
                await Eventually.TrueAsync(() => disk.Reconnections == kill);
            }

            await enough.CancelAsync();
            written = await Task.WhenAll(writers).InTime();
            await disk.FlushAsync().InTime();
        }

        await server.DisposeAsync();
        byte[] bytes = await File.ReadAllBytesAsync(image);
        for (int writer = 0; writer < Writers; writer++)
        {
            for (int block = 0; block < 64; block++)
                BinaryPrimitives.ReadUInt64LittleEndian(bytes.AsSpan(((writer * 64) + block) * BlockLength)).Should().Be(written[writer][block]);
        }
    }

    [Fact]
    public async Task A_thread_that_polls_need_not_know()
    {
        using MemoryStorage storage = new(1 << 20);
        BackendLife first = new(SocketPath, storage);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Polled = true, Reconnect = _quick });
        Submit(disk, 0);
        BlockCompletion[] done = new BlockCompletion[4];
        await Eventually.TrueAsync(() => disk.Queues[0].Poll(done) == 1);
        TaskCompletionSource lost = new();
        TaskCompletionSource back = new();
        disk.ConnectionLost += (_, _) => lost.TrySetResult();
        disk.Reconnected += (_, _) => back.TrySetResult();

        await first.DisposeAsync();
        await lost.Task.InTime();
        Submit(disk, 1);
        disk.Queues[0].Poll(done).Should().Be(0, "nobody is there to answer, which is no error");
        await using BackendLife second = new(SocketPath, storage);
        await back.Task.InTime();

        await Eventually.TrueAsync(() => disk.Queues[0].Poll(done) == 1);
        (done[0].Slot, done[0].IsOk).Should().Be((1, true));
        disk.Reconnections.Should().Be(1);
        disk.Frontend.Summary.Should().NotBeNull();
    }

    [Fact]
    public async Task When_nobody_comes_in_time_the_client_ends_with_the_reason_for_which_it_was_left()
    {
        using MemoryStorage storage = new(1 << 20);
        BackendLife only = new(SocketPath, storage);
        await using BlockClient disk = await BlockClient.ConnectAsync(
            SocketPath, new BlockClientOptions { Reconnect = _quick with { Limit = TimeSpan.FromMilliseconds(100) } });
        await disk.WriteAsync(0, new byte[BlockLength]);

        await only.DisposeAsync();

        await ((Func<Task>)(() => disk.ReadAsync(0, new byte[BlockLength]).AsTask().InTime())).Should().ThrowAsync<VhostUserDisconnectedException>();
        await ((Func<Task>)(() => disk.Completion.InTime())).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [Fact]
    public async Task A_back_end_that_offers_less_than_the_driver_has_is_refused_by_name()
    {
        using MemoryStorage storage = new(1 << 20);
        BackendLife first = new(SocketPath, storage, new BlockDeviceOptions());
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Reconnect = _quick });
        await disk.WriteAsync(0, new byte[BlockLength]);
        await first.DisposeAsync();

        await using BackendLife less = new(SocketPath, storage, new BlockDeviceOptions { ReadOnly = true });

        (await ((Func<Task>)(() => disk.Completion.InTime())).Should().ThrowAsync<VhostUserFeatureException>()).Which.Message.Should().Contain("DISCARD");
    }

    [Fact]
    public async Task Disposing_while_the_next_one_is_looked_for_ends_at_once()
    {
        using MemoryStorage storage = new(1 << 20);
        BackendLife only = new(SocketPath, storage);
        BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Reconnect = new ReconnectPolicy { Delay = TimeSpan.FromMinutes(1) } });
        TaskCompletionSource lost = new();
        disk.ConnectionLost += (_, _) => lost.TrySetResult();
        await only.DisposeAsync();
        await lost.Task.InTime();
        Task reading = disk.ReadAsync(0, new byte[BlockLength]).AsTask();

        await disk.DisposeAsync().InTime();

        await ((Func<Task>)(() => reading.InTime())).Should().ThrowAsync<ObjectDisposedException>();
        await disk.Completion.InTime();
    }

    [Fact]
    public async Task A_back_end_that_comes_to_our_listener_is_followed_by_another_one()
    {
        using MemoryStorage storage = new(1 << 20);
        await using VhostUserListener listener = VhostUserListener.Listen(SocketPath);
        ValueTask<BlockClient> accepting = BlockClient.AcceptAsync(listener, new BlockClientOptions { Reconnect = _quick });
        BackendLife first = new(SocketPath, storage, client: true);
        await using BlockClient disk = await accepting.InTime();
        byte[] bytes = new byte[BlockLength];
        Random.Shared.NextBytes(bytes);
        await disk.WriteAsync(0, bytes);
        await first.DisposeAsync();

        await using BackendLife second = new(SocketPath, storage, client: true);

        byte[] got = new byte[BlockLength];
        await disk.ReadAsync(0, got).InTime();
        got.Should().Equal(bytes);
    }

    /// <summary>The first back-end takes requests, notes them nowhere and answers none.</summary>
    [Theory]
    [InlineData(VirtioFeatures.EventIndex, 0)]
    [InlineData(VirtioFeatures.None, 4)]
    [InlineData(VirtioFeatures.RingPacked, 0)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder, 4)]
    public async Task Without_a_region_rings_are_made_anew_and_what_was_not_answered_is_submitted_again(VirtioFeatures ring, int indirect)
    {
        const int Writes = 100; // more than a ring of 64 entries holds at once
        int taken = 0;
        BackendLife first = new(SocketPath, new MisbehavingDisk(queue => Interlocked.Add(ref taken, queue.TakeBurst().Count)), _forgetful);
        using MemoryStorage storage = new(1 << 20);
        BlockClientOptions options = new() { Reconnect = _quick, RingFeatures = ring, IndirectBuffers = indirect, QueueSize = 64 };
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, options);
        byte[][] blocks = [.. Enumerable.Range(0, Writes).Select(static i => Enumerable.Repeat((byte)(i + 1), BlockLength).ToArray())];
        Task[] writes = [.. blocks.Select((block, i) => disk.WriteAsync((ulong)(i * BlockLength), block).AsTask())];
        Task flush = disk.FlushAsync().AsTask();
        await Eventually.TrueAsync(() => Volatile.Read(ref taken) > 0);
        await first.DisposeAsync();

        await using BackendLife second = new(SocketPath, new BlockDevice(storage, new BlockDeviceOptions()), _forgetful);

        await Task.WhenAll([.. writes, flush]).InTime();
        await Eventually.TrueAsync(() => disk.Reconnections == 1); // it is counted behind the start, when the first answers may be there already
        for (int i = 0; i < Writes; i++)
        {
            byte[] got = new byte[BlockLength];
            await disk.ReadAsync((ulong)(i * BlockLength), got).InTime();
            got.Should().Equal(blocks[i]);
        }
    }

    /// <summary>Of three requests one was answered and not collected: it comes back with its answer, the others with the next one's, in order.</summary>
    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task Without_a_region_what_a_polling_thread_had_not_collected_comes_back_once(VirtioFeatures ring)
    {
        int answered = 0;
        BackendLife first = new(SocketPath, new MisbehavingDisk(queue =>
        {
            while (queue.TryPop(out DescriptorChain chain))
            {
                if (Interlocked.Increment(ref answered) == 2)
                {
                    chain.Writable.Slice(chain.Writable.Length - 1).TryWrite((byte)VirtioBlkStatus.Unsupported);
                    queue.Complete(chain, 1);
                }
            }
        }), _forgetful);
        using MemoryStorage storage = new(1 << 20);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Polled = true, Reconnect = _quick, RingFeatures = ring });
        using GuestMemory own = GuestRam.Create(0x1000, Own);
        await disk.Frontend.AddMemoryAsync(own.Regions[0]);
        BlockQueue queue = disk.Queues[0];
        queue.TrySubmit(5, new VirtioBlkRequestHeader(VirtioBlkRequestType.ZoneAppend, 0, 0), [], []).Should().BeTrue();
        Submit(disk, 7);
        Submit(disk, 3);
        queue.TrySubmit(9, new VirtioBlkRequestHeader(VirtioBlkRequestType.In, 0, 0), [], [new GuestBuffer(new GuestAddress(Own), 512)]).Should().BeTrue();
        queue.Publish();
        await Eventually.TrueAsync(() => Volatile.Read(ref answered) == 4);
        await first.DisposeAsync();

        await using BackendLife second = new(SocketPath, new BlockDevice(storage, new BlockDeviceOptions()), _forgetful);

        BlockCompletion[] done = new BlockCompletion[8];
        int count = 0;
        await Eventually.TrueAsync(() => (count += queue.Poll(done.AsSpan(count))) == 4);
        done.Take(4).Should().Equal(
            new BlockCompletion(7, VirtioBlkStatus.Unsupported),
            new BlockCompletion(5, VirtioBlkStatus.IoError),
            new BlockCompletion(3, VirtioBlkStatus.Ok),
            new BlockCompletion(9, VirtioBlkStatus.Ok));
        queue.InFlight.Should().Be(0);
        Submit(disk, 5);
        await Eventually.TrueAsync(() => queue.Poll(done) == 1);
    }

    [Fact]
    public async Task Without_a_region_and_without_making_rings_anew_the_client_ends_with_its_back_end()
    {
        using MemoryStorage storage = new(1 << 20);
        BackendLife only = new(SocketPath, new BlockDevice(storage, new BlockDeviceOptions()), _forgetful);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Reconnect = _quick with { RebuildRings = false } });

        await only.DisposeAsync();

        await ((Func<Task>)(() => disk.Completion.InTime())).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    /// <summary>The next one begins with its cache on, as every back-end that is started anew.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Who_writes_through_does_so_with_the_next_back_end_from_the_first_request_on(bool hasRegion)
    {
        VhostUserBackendOptions options = hasRegion ? new VhostUserBackendOptions() : _forgetful;
        using MemoryStorage storage = new(1 << 20);
        BackendLife life = new(SocketPath, new BlockDevice(storage), options);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Reconnect = _quick });
        disk.Config.WriteBack.Should().Be(1);
        await disk.SetWriteCacheAsync(on: false).InTime();
        disk.Config.WriteBack.Should().Be(0);
        await life.DisposeAsync();

        Messages messages = new();
        BlockDevice next = new(storage);
        await using BackendLife second = new(SocketPath, next, options with { MessageHook = messages });
        await Eventually.TrueAsync(() => disk.Reconnections == 1);

        byte[] cache = new byte[1];
        next.TryReadConfig(VirtioBlkConfig.WriteBackOffset, cache).Should().BeTrue();
        cache[0].Should().Be(0);
        messages.Seen.Should().ContainInOrder(VhostUserRequest.SetConfig, VhostUserRequest.SetVringKick);
    }

    [Fact]
    public async Task A_cache_that_was_not_chosen_is_left_to_each_back_end()
    {
        using MemoryStorage storage = new(1 << 20);
        BackendLife life = new(SocketPath, storage);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Reconnect = _quick });
        await life.DisposeAsync();

        Messages messages = new();
        await using BackendLife second = new(SocketPath, new BlockDevice(storage), new VhostUserBackendOptions { MessageHook = messages });
        await Eventually.TrueAsync(() => disk.Reconnections == 1);

        messages.Seen.Should().NotContain(VhostUserRequest.SetConfig);
    }

    [Fact]
    public async Task A_cache_that_cannot_be_switched_is_named()
    {
        using MemoryStorage storage = new(1 << 20);
        await using BackendLife life = new(SocketPath, storage);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { UnwantedFeatures = (VirtioFeatures)(ulong)VirtioBlkFeatures.ConfigWriteCache });

        await ((Func<Task>)(() => disk.SetWriteCacheAsync(on: false).InTime())).Should().ThrowAsync<VhostUserFeatureException>().WithMessage("*CONFIG_WCE*");
    }

    /// <summary>Notes what is asked, and leaves it to the library.</summary>
    private sealed class Messages : IVhostUserMessageHook
    {
        private readonly ConcurrentQueue<VhostUserRequest> _seen = new();

        internal IEnumerable<VhostUserRequest> Seen => _seen;

        public MessageDecision Before(VhostUserMessage message, NegotiatedState state)
        {
            _seen.Enqueue((VhostUserRequest)message.Header.Request);
            return MessageDecision.NotHandled;
        }
    }

    private static void Submit(BlockClient disk, int slot)
    {
        disk.Queues[0].TrySubmitRead(slot, 0, BlockLength).Should().BeTrue();
        disk.Queues[0].Publish();
    }

    private Task<ChildProcess> ServeAsync(string image) => ToolProcess.ServeAsync("--socket-path", SocketPath, "--image", image);

    /// <summary>Writes numbers that go up into its own 64 blocks.</summary>
    private async Task<ulong[]> WriteAsync(BlockClient disk, int writer, CancellationToken enough)
    {
        ulong[] last = new ulong[64];
        byte[] bytes = new byte[BlockLength];
        for (ulong number = 1; !enough.IsCancellationRequested; number++)
        {
            int block = (int)(number % 64);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, number);
            await disk.WriteAsync((ulong)(((writer * 64) + block) * BlockLength), bytes, cancellationToken: CancellationToken.None);
            last[block] = number;
            Interlocked.Increment(ref _writes);
        }

        return last;
    }
}
