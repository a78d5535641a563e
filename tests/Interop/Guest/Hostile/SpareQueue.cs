using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>A queue of the device that the guest does not use, of a disk the second one: its ring and buffers lie in the guest's memory, where the kernel does not look.</summary>
internal sealed class SpareQueue : IAsyncDisposable
{
    internal const int Size = 16;
    internal const ushort Next = RawSplitRing.Next, Write = RawSplitRing.Write, Indirect = RawSplitRing.Indirect;

    /// <summary>Where requests have their header, their data and their status.</summary>
    internal const ulong Header = HostileGuest.FreeMemory + 0x10000, Data = HostileGuest.FreeMemory + 0x11000, Status = HostileGuest.FreeMemory + 0x12000;

    /// <summary>Room for a table of descriptors.</summary>
    internal const ulong Table = HostileGuest.FreeMemory + 0x13000;

    private const uint OfDisk = 1;
    private const byte Unanswered = 0xEE;
    private static readonly TimeSpan _soon = TimeSpan.FromSeconds(20);

    private readonly InterposedSession _session;
    private readonly uint _number;
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly EventNotifier _error = new();

    private SpareQueue(InterposedSession session, int size, uint number)
    {
        _session = session;
        _number = number;
        Split = new RawSplitRing(session.Memory, HostileGuest.FreeMemory, HostileGuest.FreeMemory + 0x4000, HostileGuest.FreeMemory + 0x8000, size);
        Packed = new RawPackedRing(session.Memory, HostileGuest.FreeMemory, HostileGuest.FreeMemory + 0x4000, HostileGuest.FreeMemory + 0x8000, size);
    }

    /// <summary>The ring, if it is a split one.</summary>
    internal RawSplitRing Split { get; }

    /// <summary>The same memory as a packed ring.</summary>
    internal RawPackedRing Packed { get; }

    /// <summary>Starts the queue on an empty ring.</summary>
    /// <param name="session">The session.</param>
    /// <param name="start">What SET_VRING_BASE says.</param>
    /// <param name="size">Of the ring.</param>
    /// <param name="number">Which queue of the device.</param>
    internal static async Task<SpareQueue> StartAsync(InterposedSession session, uint start, int size = Size, uint number = OfDisk)
    {
        SpareQueue queue = new(session, size, number);
        for (ulong at = HostileGuest.FreeMemory; at < HostileGuest.FreeMemory + 0xC000; at += 8)
            queue.Split.Put(at, 0UL);
        queue.Split.AvailableIndex = queue.Split.UsedIndex = (ushort)start;
        await session.AcceptedAsync(VhostUserRequest.SetVringNum, InterposedSession.State(number, (uint)size));
        await session.AcceptedAsync(VhostUserRequest.SetVringBase, InterposedSession.State(number, start));
        await session.AcceptedAsync(VhostUserRequest.SetVringAddr, InterposedSession.Bytes(Address(session, number)));
        await queue.NotifyAsync(VhostUserRequest.SetVringErr, queue._error);
        await queue.NotifyAsync(VhostUserRequest.SetVringCall, queue._call);
        await queue.NotifyAsync(VhostUserRequest.SetVringKick, queue._kick);
        await queue.EnableAsync(true);
        return queue;
    }

    internal static VhostUserVringAddress Address(InterposedSession session, uint number = OfDisk) => new(
        number, 0, User(session, HostileGuest.FreeMemory), User(session, HostileGuest.FreeMemory + 0x8000), User(session, HostileGuest.FreeMemory + 0x4000), 0);

    internal Task EnableAsync(bool enable) => _session.AcceptedAsync(VhostUserRequest.SetVringEnable, InterposedSession.State(_number, enable ? 1u : 0u));

    internal void KickIt() => _kick.Signal();

    /// <summary>Writes a request for the disk: its header, and a status that nobody has given.</summary>
    internal void Prepare(uint type = 0, ulong sector = 0)
    {
        Split.Put(Header, type);
        Split.Put(Header + 4, 0u);
        Split.Put(Header + 8, sector);
        Split.Put(Status, Unanswered);
    }

    /// <summary>Puts a request that reads into the first three descriptors.</summary>
    internal void Offer(uint type = 0, ulong sector = 0, uint length = 512, bool writable = true)
    {
        Prepare(type, sector);
        Split.Descriptor(0, Header, 16, Next, 1);
        Split.Descriptor(1, Data, length, (ushort)(Next | (writable ? Write : 0)), 2);
        Split.Descriptor(2, Status, 1, Write);
        Split.Offer(0);
        KickIt();
    }

    /// <summary>A request that reads, on a packed ring.</summary>
    internal void OfferPacked(int place = 0, bool wrap = true)
    {
        Prepare();
        Packed.Offer((place + 2) % Packed.Size, Status, 1, 0, RawPackedRing.Write, place + 2 < Packed.Size ? wrap : !wrap);
        Packed.Offer((place + 1) % Packed.Size, Data, 512, 0, RawPackedRing.Write | RawPackedRing.Next, place + 1 < Packed.Size ? wrap : !wrap);
        Packed.Offer(place, Header, 16, 0, RawPackedRing.Next, wrap);
        KickIt();
    }

    /// <summary>The status that the disk gave.</summary>
    internal async Task<byte> StatusAsync()
    {
        await Eventually.TrueAsync(() => Split.Read<byte>(Status) != Unanswered);
        return Split.Read<byte>(Status);
    }

    /// <summary>The back-end says that the queue is broken.</summary>
    internal async Task BrokenAsync() => (await Task.Run(() => _error.Wait(_soon))).Should().BeTrue("the queue is broken, and its owner is told so");

    /// <summary>Stops the queue.</summary>
    internal async Task StopAsync() => (await _session.AskAsync(VhostUserRequest.GetVringBase, InterposedSession.State(_number, 0))).Should().HaveCount(8);

    public async ValueTask DisposeAsync()
    {
        if (!_session.Ended.IsCompleted)
            await StopAsync();
        Split.Dispose();
        Packed.Dispose();
        _kick.Dispose();
        _call.Dispose();
        _error.Dispose();
    }

    private Task NotifyAsync(VhostUserRequest request, EventNotifier notifier) =>
        _session.AcceptedAsync(request, InterposedSession.Bytes(VhostUserVringDescriptor.Create((int)_number, noDescriptor: false)), notifier.Descriptor);

    private static UserAddress User(InterposedSession session, ulong address)
    {
        session.Memory.TryTranslate(new GuestAddress(address), 16, out UserAddress user).Should().BeTrue();
        return user;
    }
}
