using System.Diagnostics;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>
/// A disk image behind a back-end, and a front-end that writes ring and requests by hand: ring, headers and tables in one region, data in another, whose pages a request
/// may name again and again.
/// </summary>
internal sealed class FileSession : IAsyncDisposable
{
    public const int Slots = 64;
    public const byte NoStatus = 0xEE;
    private const int RingSize = 64;
    private const ulong HeadersAt = 0x4000;
    private const ulong TablesAt = 0x10000;

    private readonly CancellationTokenSource _stop = new();
    private readonly VhostUserBackend _backend;
    private readonly Task _serving;
    private readonly TestGuest _control = new(slot: 0);
    private readonly RawSplitRing _ring;
    private readonly EventNotifier _kick = new();

    private FileSession(FileStorage storage, VhostUserBackendOptions options)
    {
        Device = new BlockDevice(storage);
        _backend = new VhostUserBackend(Device, options with { LoggerFactory = Log });
        _ring = new RawSplitRing(_control.Table, _control.GuestStart.Value, RingSize);
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        Frontend = new RawFrontend(front);
        _serving = Task.Run(() => _backend.ServeAsync(back, _stop.Token));
    }

    public BlockDevice Device { get; }

    public RawFrontend Frontend { get; }

    public LogRecorder Log { get; } = new();

    public TestGuest Data { get; } = new(slot: 1);

    public EventNotifier Call { get; } = new();

    public ushort UsedIndex => _ring.UsedIndex;

    public static async Task<FileSession> StartAsync(FileStorage storage, VhostUserBackendOptions options)
    {
        FileSession session = new(storage, options);
        await session.Frontend.NegotiateAsync();
        await session.Frontend.AddMemoryAsync(session._control);
        await session.Frontend.AddMemoryAsync(session.Data);
        return session;
    }

    /// <summary>Offers a request whose data is the data region, named <paramref name="pieces"/> times; the ring is told by <see cref="Kick"/> or by its start.</summary>
    public void Submit(int slot, VirtioBlkRequestType type, ulong sector, int pieces)
    {
        ulong header = At(HeadersAt) + ((ulong)slot * 64);
        ulong table = At(TablesAt) + ((ulong)slot * 0x1000);
        _ring.Put(header, (uint)type);
        _ring.Put(header + 8, sector);
        _ring.Put(header + 32, NoStatus);
        ushort data = type == VirtioBlkRequestType.In ? RawSplitRing.Write : (ushort)0;
        _ring.DescriptorAt(table, header, 16, RawSplitRing.Next, 1);
        for (int i = 1; i <= pieces; i++)
            _ring.DescriptorAt(table + (16 * (ulong)i), Data.GuestStart.Value, (uint)TestGuest.Size, (ushort)(data | RawSplitRing.Next), (ushort)(i + 1));
        _ring.DescriptorAt(table + (16 * (ulong)(pieces + 1)), header + 32, 1, RawSplitRing.Write);
        _ring.Descriptor(slot, table, 16 * (uint)(pieces + 2), RawSplitRing.Indirect);
        _ring.Offer((ushort)slot);
    }

    /// <summary>Where the data descriptors of a slot stand, and its header: for a guest that rewrites them.</summary>
    public (ulong Table, ulong Header) PlacesOf(int slot) => (At(TablesAt) + ((ulong)slot * 0x1000), At(HeadersAt) + ((ulong)slot * 64));

    public RawSplitRing Ring => _ring;

    /// <summary>Starts the ring with empty indices.</summary>
    public async Task StartRingAsync(bool keepRequests = true)
    {
        if (!keepRequests)
            (_ring.AvailableIndex, _ring.UsedIndex) = (0, 0);
        await Frontend.SendAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, RingSize));
        await Frontend.SendAsync(VhostUserRequest.SetVringBase, RawFrontend.State(0, 0));
        await Frontend.SendAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(new VhostUserVringAddress(
            0, 0, User(_ring.DescriptorTable), User(_ring.UsedRing), User(_ring.AvailableRing), 0)));
        await Frontend.SendAsync(VhostUserRequest.SetVringCall, Word, Call.Descriptor);
        await Frontend.SendAsync(VhostUserRequest.SetVringKick, Word, _kick.Descriptor);
        await Frontend.SendAsync(VhostUserRequest.SetVringEnable, RawFrontend.State(0, 1));
    }

    /// <summary>Sends the same memory once more, as a table of its own.</summary>
    public Task ReplaceTableAsync() => Frontend.SetMemoryTableAsync(_control, Data);

    /// <summary>Stops the ring.</summary>
    /// <returns>Where it would go on.</returns>
    public async Task<uint> StopRingAsync() =>
        BitConverter.ToUInt32(await Frontend.AskAsync(VhostUserRequest.GetVringBase, RawFrontend.State(0, 0)), 4);

    public void Kick() => _kick.Signal();

    /// <summary>The next answered request.</summary>
    public byte StatusOf(int slot) => _ring.Read<byte>(At(HeadersAt) + ((ulong)slot * 64) + 32);

    /// <summary>Blocks until so many requests are answered.</summary>
    public void AwaitUsed(int count)
    {
        long started = Stopwatch.GetTimestamp();
        while (UsedIndex < count)
        {
            Stopwatch.GetElapsedTime(started).Should().BeLessThan(TimeSpan.FromSeconds(20), "{0} of {1} requests are answered", UsedIndex, count);
            Thread.Yield();
        }
    }

    /// <summary>All requests of the slots up to a number were read completely.</summary>
    public void AllRead(int count, int pieces)
    {
        for (int i = 0; i < count; i++)
        {
            (uint id, uint length) = _ring.UsedElement(i);
            length.Should().Be((uint)((pieces * (int)TestGuest.Size) + 1));
            StatusOf((int)id).Should().Be((byte)VirtioBlkStatus.Ok);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Frontend.DisposeAsync();
        await _stop.CancelAsync();
        await _serving.WaitAsync(TimeSpan.FromSeconds(20));
        await _backend.DisposeAsync();
        _ring.Dispose();
        _control.Dispose();
        Data.Dispose();
        _kick.Dispose();
        Call.Dispose();
        _stop.Dispose();
    }

    private static byte[] Word => RawFrontend.Bytes(VhostUserVringDescriptor.Create(0, noDescriptor: false));

    private ulong At(ulong offset) => _control.GuestStart.Value + offset;

    private UserAddress User(GuestAddress address) => _control.User(address.Value - _control.GuestStart.Value);
}
