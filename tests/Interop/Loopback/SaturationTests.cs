using Microsoft.Win32.SafeHandles;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Loopback;

/// <summary>Both halves say more than the other one reads, on both channels at once and without waiting for answers: nobody waits for ever, and nothing of it is lost.</summary>
[Collection(ProcessCounts.Name)]
public sealed class SaturationTests
{
    private const int Each = 5_000;

    [Fact]
    public async Task F09_channels_that_are_full_in_both_directions_empty_when_they_are_read_and_everything_has_arrived()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (TalkativePair pair = await TalkativePair.StartAsync())
        {
            (Task main, Task channel) = await pair.FillAsync();
            Task[] more = [Many(pair.AnnounceAsync), Many(pair.WriteAsync), Many(pair.ReadAsync), Many(pair.ShareAsync), Many(pair.ChangeAsync), Many(pair.FindAsync)];
            (main.IsCompleted, channel.IsCompleted).Should().Be((false, false), "there is room on neither");

            pair.Read();

            await Task.WhenAll([main, channel, .. more]).InTime();
            await pair.ExpectAllAsync();
            pair.Device.Writes.Should().Be(Each);
        }

        before.AssertBack();
    }

    /// <summary>A back-end gives its own channel up after five seconds, and the front-end the whole session after ten.</summary>
    [Fact]
    public async Task F09_channels_that_are_never_read_are_given_up_by_each_side_after_its_limit()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (TalkativePair pair = await TalkativePair.StartAsync())
        {
            (Task main, Task channel) = await pair.FillAsync();
            pair.Clock.Advance(TimeSpan.FromSeconds(5));
            await channel.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
            main.IsCompleted.Should().BeFalse();

            pair.Clock.Advance(TimeSpan.FromSeconds(5));
            await main.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
            await pair.Frontend.Completion.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
            pair.Read();
        }

        before.AssertBack();
    }

    /// <summary>Other front-ends do not ask for the acknowledgement of a kick, and fill the channel with kicks when their guest is faster than the back-end.</summary>
    [Fact]
    public async Task F09_kicks_without_end_while_the_back_end_does_not_read_cost_no_request_and_no_interrupt()
    {
        const int Size = 1 << 18;
        using MemoryStorage storage = new(Size);
        using HeldKicks held = new();
        VhostUserBackendOptions options = new() { AdditionalProtocolFeatures = VhostUserProtocolFeatures.InbandNotifications, MessageHook = held };
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(new BlockDevice(storage), new BlockClientOptions { InbandNotifications = true }, options);
        VhostUserRequestClient requests = loopback.Client.Frontend.Requests;
        requests.Acknowledgements = AcknowledgementPolicy.Never;
        byte[] data = new byte[Size];
        new Random(15).NextBytes(data);
        held.Hold();
        await requests.VringKickAsync(0);
        await held.Reached.InTime();
        Task full = Fill(() => requests.VringKickAsync(0));

        Task[] kicks = [.. Enumerable.Range(0, 4).Select(_ => Many(() => requests.VringKickAsync(0)))];
        Task[] writes = [.. Enumerable.Range(0, 64).Select(i => loopback.Client.WriteAsync((ulong)(i * (Size / 64)), data.AsMemory(i * (Size / 64), Size / 64)).AsTask())];
        await Many(() => loopback.Backend.NotifyConfigChangedAsync(), Each / 10).InTime(); // the other direction is open
        full.IsCompleted.Should().BeFalse();
        held.Release();

        await Task.WhenAll([full, .. kicks, .. writes]).InTime();
        byte[] read = new byte[Size];
        await loopback.Client.ReadAsync(0, read).InTime();
        read.AsSpan().SequenceEqual(data).Should().BeTrue();
        await requests.GetFeaturesAsync().InTime();
        held.Seen.Should().BeGreaterThan(4 * Each);
    }

    /// <summary>Says it until there is no room any more; the one that waits for room.</summary>
    private static Task Fill(Func<ValueTask> say)
    {
        while (true)
        {
            Task said = say().AsTask();
            if (!said.IsCompletedSuccessfully)
                return said;
        }
    }

    private static Task Many(Func<ValueTask> say, int times = Each) => Task.Run(async () =>
    {
        for (int i = 0; i < times; i++)
            await say();
    });

    /// <summary>Both halves without REPLY_ACK, over a socket with little room; neither reads on behind the first message of the other, until it is told to. Nobody gives up while the clock stands still.</summary>
    private sealed class TalkativePair : IAsyncDisposable
    {
        private const VhostUserProtocolFeatures Protocol = VhostUserProtocolFeatures.SharedObject | VhostUserProtocolFeatures.Rarp | VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.BackendReq;

        private readonly GuestMemory _memory = GuestRam.Create(1 << 20, at: 0x100000);
        private readonly EventNotifier _kick = new();
        private readonly Handler _handler = new();
        private readonly VhostUserBackend _backend;
        private readonly Task _serving;
        private int _announced;
        private int _shared;

        private TalkativePair(VhostUserConnection connection, FakeTimeProvider clock)
        {
            Clock = clock;
            _backend = new VhostUserBackend(Device, new VhostUserBackendOptions { WithheldProtocolFeatures = VhostUserProtocolFeatures.ReplyAck, TimeProvider = clock });
            _serving = Task.Run(() => _backend.ServeAsync(connection));
        }

        public FakeTimeProvider Clock { get; }

        public TalkativeDevice Device { get; } = new();

        public VhostUserFrontend Frontend { get; private set; } = null!;

        public static async Task<TalkativePair> StartAsync()
        {
            FakeTimeProvider clock = new();
            (VhostUserConnection front, VhostUserConnection back) = NarrowPair(new VhostUserConnectionOptions { TimeProvider = clock });
            TalkativePair pair = new(back, clock);
            pair.Frontend = await VhostUserFrontend.StartAsync(
                front, new VhostUserFrontendOptions { RequiredProtocolFeatures = Protocol, BackendRequests = pair._handler, TimeProvider = clock });
            pair._handler.Session = pair.Frontend;
            pair.Frontend.Summary.HasAcknowledgements.Should().BeFalse();
            await pair.Frontend.SetMemoryAsync(pair._memory);
            await pair.Frontend.StartVringAsync(SharingPair.RingWith(pair._kick));
            return pair;
        }

        /// <summary>Nobody reads any more, and both say what they have until there is no room: the messages that wait for some.</summary>
        public async Task<(Task Main, Task Channel)> FillAsync()
        {
            await AnnounceAsync();
            await ShareAsync();
            await Task.WhenAll(Device.Reached, _handler.Reached).InTime();
            return (Fill(AnnounceAsync), Fill(ShareAsync));
        }

        /// <summary>Both read on.</summary>
        public void Read()
        {
            Device.Read();
            _handler.Read();
        }

        public ValueTask AnnounceAsync() => Frontend.Requests.SendRarpAsync((ulong)Interlocked.Increment(ref _announced));

        public ValueTask WriteAsync() => Frontend.Requests.SetConfigAsync(0, new byte[4]);

        /// <summary>The one thing on this channel that is answered.</summary>
        public ValueTask ReadAsync() => Frontend.ReadConfigAsync(0, new byte[4]);

        public ValueTask ShareAsync() => _backend.Requests.AddSharedObjectAsync(new Guid(Interlocked.Increment(ref _shared), 0, 0, new byte[8]));

        public ValueTask ChangeAsync() => _backend.NotifyConfigChangedAsync();

        /// <summary>The one thing on that channel that is answered.</summary>
        public async ValueTask FindAsync() => (await _backend.Requests.FindSharedObjectAsync(Guid.Empty)).Should().BeNull();

        /// <summary>What was said before has been dealt with when a question behind it is answered.</summary>
        public async Task ExpectAllAsync()
        {
            await ReadAsync().InTime();
            await FindAsync().InTime();
            Device.Announced.Order().Should().Equal(Enumerable.Range(1, _announced).Select(static i => (ulong)i));
            _handler.Added.Should().HaveCount(_shared);
            await Eventually.TrueAsync(() => _handler.Changes > 0);
        }

        public async ValueTask DisposeAsync()
        {
            await Frontend.DisposeAsync().InTime();
            await _serving.InTime();
            await _backend.DisposeAsync();
            Device.Dispose();
            _kick.Dispose();
            _memory.Dispose();
        }

        private static (VhostUserConnection Front, VhostUserConnection Back) NarrowPair(VhostUserConnectionOptions options)
        {
            (SafeFileHandle front, SafeFileHandle back) = Libc.UnixSocketPair();
            RawDescriptors.NarrowSendBuffer(front);
            RawDescriptors.NarrowSendBuffer(back);
            return (VhostUserConnection.Adopt(front, options), VhostUserConnection.Adopt(back, options));
        }
    }

    /// <summary>Holds its session up when it is told an address, until it is told to read on.</summary>
    private sealed class TalkativeDevice : IVhostUserNetDevice, ISharedObjectDevice, IDisposable
    {
        private readonly ManualResetEventSlim _reads = new();
        private readonly TaskCompletionSource _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int QueueCount => 2;

        public int QueuePairs => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public int ConfigLength => 4;

        public Task Reached => _reached.Task;

        /// <summary>In the order in which they came.</summary>
        public List<ulong> Announced { get; } = [];

        public int Writes { get; private set; }

        public void Read() => _reads.Set();

        public void AnnounceAddress(MacAddress address)
        {
            Announced.Add(address.Value);
            _reached.TrySetResult();
            _reads.Wait();
        }

        public bool TrySetMtu(ulong mtu) => true;

        public bool TryReadConfig(uint offset, Span<byte> destination) => true;

        public bool TryWriteConfig(uint offset, ReadOnlySpan<byte> source)
        {
            Writes++;
            return true;
        }

        public SafeFileHandle? OpenSharedObject(Guid id) => null;

        public void Process(DeviceVirtqueue queue)
        {
        }

        public void Dispose() => _reads.Dispose();
    }

    /// <summary>Holds the channel of the back-end up when it is told of an object, until it is told to read on; then it asks the back-end something for some of them.</summary>
    private sealed class Handler : IVhostUserBackendRequestHandler
    {
        private readonly TaskCompletionSource _reads = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _changes;

        public VhostUserFrontend? Session { get; set; }

        public Task Reached => _reached.Task;

        public HashSet<Guid> Added { get; } = [];

        public int Changes => Volatile.Read(ref _changes);

        public void Read() => _reads.SetResult();

        public async ValueTask<bool> OnSharedObjectAddAsync(Guid id, CancellationToken cancellationToken)
        {
            _reached.TrySetResult();
            await _reads.Task.WaitAsync(cancellationToken);
            if (Added.Count % 16 == 0)
                await Session!.Requests.GetFeaturesAsync(cancellationToken);
            return Added.Add(id);
        }

        public ValueTask OnConfigChangedAsync(CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref _changes);
            return ValueTask.CompletedTask;
        }
    }

    /// <summary>Counts kicks, and holds the session up at one.</summary>
    private sealed class HeldKicks : IVhostUserMessageHook, IDisposable
    {
        private readonly ManualResetEventSlim _passes = new(initialState: true);
        private readonly TaskCompletionSource _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _seen;

        public Task Reached => _reached.Task;

        public int Seen => Volatile.Read(ref _seen);

        public void Hold() => _passes.Reset();

        public void Release() => _passes.Set();

        public void Dispose() => _passes.Dispose();

        public MessageDecision Before(VhostUserMessage message, NegotiatedState state)
        {
            if (message.Header.Request != (uint)VhostUserRequest.VringKick)
                return MessageDecision.NotHandled;
            Interlocked.Increment(ref _seen);
            if (!_passes.IsSet)
                _reached.TrySetResult();
            _passes.Wait();
            return MessageDecision.NotHandled;
        }
    }
}
