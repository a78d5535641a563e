using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>Both halves: a front-end copies the memory of a device at work by its dirty log, as a hypervisor does that moves a guest.</summary>
public sealed class DirtyLogTests
{
    private const ulong DriversMemory = 1 << 20;
    private const ulong DevicesMemory = 4 << 20;
    private const ulong DevicesAt = 0x4000_0000;
    private const ulong SayingAt = 0x8_0000;
    private const int Entries = 64;
    private const ulong Page = DirtyLog.PageSize;

    private static readonly VhostUserFrontendOptions _options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.LogShmFd };

    [Theory]
    [InlineData(VirtioFeatures.None, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.EventIndex, QueueDispatch.DedicatedThread)]
    [InlineData(VirtioFeatures.RingPacked, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.EventIndex, QueueDispatch.BusyPoll)]
    [Shows(Counterpart.Loopback, VhostUserRequest.SetLogBase, VhostUserProtocolFeatures.LogShmFd, VirtioFeatures.LogAll)]
    public async Task Memory_that_is_copied_while_the_device_writes_is_the_same_in_the_end(VirtioFeatures ring, QueueDispatch dispatch)
    {
        await using Session session = await Session.StartAsync(ring, dispatch);
        await session.TrafficAsync(500);

        await session.Frontend.StartLoggingAsync();
        session.Frontend.IsLogging.Should().BeTrue();
        byte[] copy = session.CopyAll();
        for (int pass = 0; pass < 20; pass++)
        {
            await session.TrafficAsync(200);
            session.CopyDirty(copy).Should().BePositive();
        }

        await session.Ring.StopAsync();
        session.CopyDirty(copy);

        session.CopyAll().AsSpan().SequenceEqual(copy).Should().BeTrue("every page that the device wrote was in the log");
        session.CopyDirty(copy).Should().Be(0);
    }

    [Fact]
    public async Task Nothing_is_marked_before_logging_begins_and_after_it_ends()
    {
        await using Session session = await Session.StartAsync(VirtioFeatures.None, QueueDispatch.Async);
        session.Frontend.Invoking(frontend => frontend.TakeDirty(default, 1, new ulong[1])).Should().Throw<InvalidOperationException>().WithMessage("*StartLoggingAsync*");
        await session.Frontend.StartLoggingAsync();
        await session.Frontend.StartLoggingAsync();
        await session.TrafficAsync(10);

        await session.Frontend.StopLoggingAsync();

        byte[] copy = session.CopyAll();
        session.CopyDirty(copy).Should().BePositive("what was marked can still be taken");
        await session.TrafficAsync(100);
        session.CopyDirty(copy).Should().Be(0);
        (session.Frontend.AcknowledgedFeatures & VirtioFeatures.LogAll).Should().Be(VirtioFeatures.None);
        await session.Frontend.StopLoggingAsync();
    }

    [Fact]
    public async Task A_ring_that_is_started_while_the_back_end_logs_is_logged()
    {
        await using Session session = await Session.StartAsync(VirtioFeatures.None, QueueDispatch.Async);
        await session.Frontend.StartLoggingAsync();
        await session.RestartAsync();
        byte[] copy = session.CopyAll();
        ulong[] pages = new ulong[DriversMemory / Page / 64];
        session.Frontend.TakeDirty(default, DriversMemory, pages);

        await session.TrafficAsync(50);

        session.CopyDirty(copy).Should().BePositive();
        await Eventually.TrueAsync(() => session.Frontend.TakeDirty(session.UsedRing, 1, pages) == 1);
    }

    [Fact]
    public async Task Memory_that_is_added_gets_its_bits_and_what_was_marked_stays()
    {
        await using Session session = await Session.StartAsync(VirtioFeatures.None, QueueDispatch.Async);
        await session.Frontend.StartLoggingAsync();
        byte[] copy = session.CopyAll();
        await session.TrafficAsync(50);
        GuestMemoryRegion more = GuestRam.Region(0x10_0000_0000, 1 << 20);

        await session.Frontend.AddMemoryAsync(more);

        session.CopyDirty(copy).Should().BePositive();
        await session.TrafficAsync(10, new GuestAddress(0x10_0000_0000));
        ulong[] pages = new ulong[4];
        session.Frontend.TakeDirty(more.GuestAddress, 1 << 20, pages).Should().BePositive();
        more.Memory.Dispose();
    }

    /// <summary>Each region lies so far behind all before it that the log grows by a page each time, and another one takes its place.</summary>
    [Theory]
    [InlineData(VirtioFeatures.None, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.EventIndex, QueueDispatch.DedicatedThread)]
    public async Task Memory_that_comes_and_goes_while_the_device_writes_costs_no_mark(VirtioFeatures ring, QueueDispatch dispatch)
    {
        await using Session session = await Session.StartAsync(ring, dispatch);
        await session.Frontend.StartLoggingAsync();
        byte[] copy = session.CopyAll();
        using CancellationTokenSource enough = new();
        Task traffic = Task.Run(() => session.TrafficUntilAsync(enough.Token));

        for (ulong turn = 0; turn < 100; turn++)
        {
            GuestMemoryRegion more = GuestRam.Region(0x10_0000_0000 + (turn << 27), 1 << 20);
            await session.Frontend.AddMemoryAsync(more);
            session.CopyDirty(copy);
            await session.Frontend.RemoveMemoryAsync(more);
            more.Memory.Dispose();
        }

        await enough.CancelAsync();
        await traffic.InTime();
        await session.Ring.StopAsync();
        session.CopyDirty(copy);
        session.CopyAll().AsSpan().SequenceEqual(copy).Should().BeTrue("every page that the device wrote was in one log or another");
        session.Device.TakeNoted().Should().HaveCountGreaterThan(500, "it was at work");
    }

    /// <summary>The device does not ask the library where it has written: its requests say where their buffers are.</summary>
    [Theory]
    [InlineData(VirtioFeatures.None, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.EventIndex, QueueDispatch.DedicatedThread)]
    [InlineData(VirtioFeatures.RingPacked, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.EventIndex, QueueDispatch.BusyPoll)]
    public async Task The_log_has_the_pages_that_the_device_says_it_wrote_and_beside_these_those_of_its_ring_alone(VirtioFeatures ring, QueueDispatch dispatch)
    {
        await using Session session = await Session.StartAsync(ring, dispatch);
        await session.TrafficAsync(100);
        await session.Frontend.StartLoggingAsync();
        session.Device.TakeNoted();
        HashSet<ulong> ofRing = [];
        for (int pass = 0; pass < 200; pass++)
        {
            await session.TrafficAsync(10);

            HashSet<ulong> logged = session.TakePages();
            ofRing.UnionWith(logged.Where(static page => page < DriversMemory / Page));
            logged.ExceptWith(ofRing);
            logged.SetEquals(session.Device.TakeNoted()).Should().BeTrue("pass {0}", pass);
        }

        await session.Ring.StopAsync();
        ofRing.UnionWith(session.TakePages());
        ofRing.Should().NotBeEmpty().And.BeSubsetOf(session.RingPages);
    }

    [Fact]
    public async Task Features_that_are_acknowledged_again_keep_the_log()
    {
        await using Session session = await Session.StartAsync(VirtioFeatures.None, QueueDispatch.Async);
        await session.Frontend.StartLoggingAsync();

        await session.Frontend.SetFeaturesAsync(VirtioFeatures.Version1);

        (session.Frontend.AcknowledgedFeatures & VirtioFeatures.LogAll).Should().Be(VirtioFeatures.LogAll);
        byte[] copy = session.CopyAll();
        await session.TrafficAsync(10);
        session.CopyDirty(copy).Should().BePositive();
    }

    [Fact]
    public async Task A_back_end_that_cannot_log_is_named()
    {
        await using Session session = await Session.StartAsync(VirtioFeatures.None, QueueDispatch.Async, new VhostUserFrontendOptions());

        await session.Frontend.Invoking(frontend => frontend.StartLoggingAsync().AsTask()).Should().ThrowAsync<VhostUserFeatureException>().WithMessage("*LOG_SHMFD*");

        await session.TrafficAsync(10);
    }

    /// <summary>A driver whose own half lies in one region, and buffers for the device in another.</summary>
    private sealed class Session : IAsyncDisposable
    {
        private readonly GuestMemory _memory = GuestRam.Create((0UL, DriversMemory), (DevicesAt, DevicesMemory));
        private readonly GuestMemoryLease _lease;
        private readonly EventNotifier _kick = new();
        private readonly EventNotifier _call = new();
        private readonly VhostUserBackend _backend;
        private readonly Random _random = new(5);
        private readonly DriverVirtqueue _driver;
        private ulong _submitted;
        private Task _serving = Task.CompletedTask;

        private Session(VirtioFeatures features, QueueDispatch dispatch)
        {
            _lease = _memory.Acquire();
            _driver = DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = Entries }, features);
            _backend = new VhostUserBackend(Device, new VhostUserBackendOptions { Dispatch = dispatch, DrainTimeout = TimeSpan.FromSeconds(5) });
        }

        internal StampingDevice Device { get; } = new();

        internal VhostUserFrontend Frontend { get; private set; } = null!;

        internal FrontendVring Ring { get; private set; } = null!;

        internal GuestAddress UsedRing => Ring.Settings.UsedRing;

        /// <summary>Pages in which the device may write to the ring itself.</summary>
        internal IEnumerable<ulong> RingPages => _driver.Features.HasFlag(VirtioFeatures.RingPacked)
            ? [.. PagesOf(Ring.Settings.DescriptorTable.Value, Entries * 16), .. PagesOf(UsedRing.Value, 4)]
            : PagesOf(UsedRing.Value, 6 + (Entries * 8));

        internal static async Task<Session> StartAsync(VirtioFeatures ring, QueueDispatch dispatch, VhostUserFrontendOptions? options = null)
        {
            VirtioFeatures features = ring | VirtioFeatures.Version1;
            Session session = new(features, dispatch);
            (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
            session._serving = Task.Run(() => session._backend.ServeAsync(back));
            session.Frontend = await VhostUserFrontend.StartAsync(front, options ?? _options);
            await session.Frontend.SetFeaturesAsync(features);
            await session.Frontend.SetMemoryAsync(session._memory);
            session.Ring = await session.Frontend.StartVringAsync(session._driver.Describe(0, session._kick, session._call));
            return session;
        }

        internal async Task RestartAsync()
        {
            VringBase stopped = await Ring.StopAsync();
            Ring = await Frontend.StartVringAsync(Ring.Settings with { Base = stopped });
        }

        /// <summary>Requests with one buffer for the device, anywhere in its memory.</summary>
        internal async Task TrafficAsync(int requests, GuestAddress? at = null)
        {
            DriverCompletion[] done = new DriverCompletion[Entries];
            int submitted = 0;
            for (int collected = 0; collected < requests;)
            {
                while (submitted < requests && TrySubmit(Buffer(at)))
                    submitted++;
                if (_driver.Publish())
                    _kick.Signal();
                int count = _driver.Drain(done);
                collected += count;
                if (count == 0)
                    await Task.Yield();
            }
        }

        internal async Task TrafficUntilAsync(CancellationToken enough)
        {
            while (!enough.IsCancellationRequested)
                await TrafficAsync(50);
        }

        /// <summary>All that is marked, of the two regions and of what is not theirs.</summary>
        internal HashSet<ulong> TakePages()
        {
            ulong[] pages = new ulong[(DevicesAt + DevicesMemory) / Page / 64];
            Frontend.TakeDirty(default, DevicesAt + DevicesMemory, pages);
            return [.. Enumerable.Range(0, pages.Length * 64).Where(page => (pages[page / 64] >> (page % 64) & 1) != 0).Select(page => (ulong)page)];
        }

        internal byte[] CopyAll()
        {
            byte[] copy = new byte[DevicesMemory];
            _lease.TryCopyTo(new GuestAddress(DevicesAt), copy).Should().BeTrue();
            return copy;
        }

        /// <summary>Copies the pages of the device's memory that are in the log.</summary>
        internal long CopyDirty(byte[] copy)
        {
            ulong[] pages = new ulong[DevicesMemory / Page / 64];
            long dirty = Frontend.TakeDirty(new GuestAddress(DevicesAt), DevicesMemory, pages);
            for (int page = 0; page < pages.Length * 64; page++)
            {
                if ((pages[page / 64] >> (page % 64) & 1) != 0)
                    _lease.TryCopyTo(new GuestAddress(DevicesAt + ((ulong)page * Page)), copy.AsSpan(page * (int)Page, (int)Page)).Should().BeTrue();
            }

            return dirty;
        }

        public async ValueTask DisposeAsync()
        {
            await Frontend.DisposeAsync();
            await _serving.InTime();
            await _backend.DisposeAsync();
            _driver.Dispose();
            _lease.Dispose();
            _memory.Dispose();
            _kick.Dispose();
            _call.Dispose();
        }

        /// <summary>What the device reads is where the buffer is that it may write: the place is used again when all requests between have come back.</summary>
        private bool TrySubmit(GuestBuffer buffer)
        {
            GuestAddress says = new(SayingAt + (_submitted % Entries * sizeof(ulong)));
            _lease.TryWrite(says, buffer.Address.Value).Should().BeTrue();
            if (!_driver.TrySubmit([new GuestBuffer(says, sizeof(ulong))], [buffer], 0))
                return false;
            _submitted++;
            return true;
        }

        private GuestBuffer Buffer(GuestAddress? at)
        {
            uint length = (uint)_random.Next(1, 6000);
            return new GuestBuffer(at ?? new GuestAddress(DevicesAt + (ulong)_random.Next((int)DevicesMemory - (int)length)), length);
        }
    }

    private static IEnumerable<ulong> PagesOf(ulong at, ulong length)
    {
        for (ulong page = at / Page; length > 0 && page <= (at + length - 1) / Page; page++)
            yield return page;
    }

    /// <summary>Writes a part of each buffer, and keeps a list of the pages.</summary>
    private sealed class StampingDevice : IVhostUserDevice
    {
        private readonly Lock _gate = new();
        private readonly HashSet<ulong> _noted = [];
        private readonly Random _random = new(7);
        private readonly byte[] _bytes = new byte[6000];

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1 | VirtioFeatures.RingPacked | VirtioFeatures.EventIndex;

        public bool ReportsAllWrites => true;

        /// <summary>The pages written since the last time.</summary>
        internal HashSet<ulong> TakeNoted()
        {
            lock (_gate)
            {
                HashSet<ulong> noted = [.. _noted];
                _noted.Clear();
                return noted;
            }
        }

        public void Process(DeviceVirtqueue queue)
        {
            while (queue.TryPop(out DescriptorChain chain))
            {
                int length = _random.Next((int)chain.Writable.Length + 1);
                _random.NextBytes(_bytes.AsSpan(0, length));
                chain.Readable.TryRead(out ulong at).Should().BeTrue();
                lock (_gate)
                    _noted.UnionWith(PagesOf(at, (ulong)length));
                chain.Writable.CopyFrom(_bytes.AsSpan(0, length));
                queue.Complete(chain, (uint)length);
            }
        }
    }
}
