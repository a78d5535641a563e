using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>
/// A network driver made of what a hypervisor author has, a session and two rings, in front of a testpmd that sends everything back: unlike <see cref="NetClient"/> it shows its
/// memory and its session.
/// </summary>
internal sealed class RawNetDriver : IAsyncDisposable
{
    internal const ushort Entries = 256;
    internal const ulong MemorySize = 4 << 20;

    /// <summary>Before it are the rings.</summary>
    internal const int FirstSentPage = (int)(SentAt / DirtyLog.PageSize);

    internal const int FirstReceivedPage = (int)(ReceivedAt / DirtyLog.PageSize);

    private const int Receive = 0;
    private const int Transmit = 1;
    private const ulong SentAt = 1 << 20;
    private const ulong ReceivedAt = 2 << 20;
    private const uint BufferBytes = 2048;
    private const int HeaderBytes = 12;
    private const int LongestPacket = 1514;

    private readonly GuestMemory _memory = GuestRam.Create(MemorySize);
    private readonly GuestMemoryLease _lease;
    private readonly EventNotifier[] _kicks = [new(), new()];
    private readonly DriverVirtqueue[] _queues;
    private readonly FrontendVring[] _rings = new FrontendVring[2];
    private readonly DriverCompletion[] _done = new DriverCompletion[Entries];
    private readonly byte[] _packet = new byte[BufferBytes];

    internal RawNetDriver(VirtioFeatures ring)
    {
        Features = ring | VirtioFeatures.Version1;
        _lease = _memory.Acquire();
        DriverVirtqueueOptions options = new() { Size = Entries };
        _queues = [.. new ulong[] { 0, 0x1_0000 }.Select(at => DriverVirtqueue.Create(_memory, new GuestAddress(at), options, Features))];
    }

    /// <summary>What it acknowledges; more may be added before it starts.</summary>
    internal VirtioFeatures Features { get; set; }

    internal VhostUserFrontend Session { get; private set; } = null!;

    internal VringSettings ReceiveRing => _rings[Receive].Settings;

    /// <summary>Negotiates, and lets the caller say more before the rings start.</summary>
    internal async Task StartAsync(string socket, VhostUserProtocolFeatures required, Func<VhostUserFrontend, Task>? beforeRings = null)
    {
        VhostUserFrontendOptions options = new() { RequiredProtocolFeatures = required, Queues = 2, Connect = new() { RetryFor = Eventually.Deadline } };
        Session = await VhostUserFrontend.ConnectAsync(socket, options);
        await Session.SetFeaturesAsync(Features);
        await Session.SetMemoryAsync(_memory);
        await (beforeRings?.Invoke(Session) ?? Task.CompletedTask);
        for (int queue = 0; queue < _rings.Length; queue++)
            _rings[queue] = await Session.StartVringAsync(_queues[queue].Describe(queue, _kicks[queue], call: null) with { Enabled = true });
        FillReceiveRing(Enumerable.Range(0, Entries));
    }

    /// <summary>Sends packets one window after the other and requires that each comes back once and unchanged.</summary>
    internal async Task EchoAsync(int packets, int seed)
    {
        for (int first = 0; first < packets; first += Entries / 2)
            await EchoWindowAsync(seed, first, Math.Min(Entries / 2, packets - first));
    }

    internal async Task StopAsync()
    {
        foreach (FrontendVring ring in _rings)
            await ring.StopAsync();
    }

    internal byte[] CopyAll()
    {
        byte[] copy = new byte[MemorySize];
        _lease.TryCopyTo(default, copy).Should().BeTrue();
        return copy;
    }

    public async ValueTask DisposeAsync()
    {
        if (Session is not null)
            await Session.DisposeAsync();
        foreach (DriverVirtqueue queue in _queues)
            queue.Dispose();
        _lease.Dispose();
        _memory.Dispose();
        foreach (EventNotifier kick in _kicks)
            kick.Dispose();
    }

    private async Task EchoWindowAsync(int seed, int first, int count)
    {
        for (int i = 0; i < count; i++)
        {
            byte[] packet = [.. new byte[HeaderBytes], .. PacketOf(seed, first + i)];
            GuestBuffer place = new(new GuestAddress(SentAt + ((ulong)i * BufferBytes)), (uint)packet.Length);
            _lease.TryCopyFrom(packet, place.Address).Should().BeTrue();
            _queues[Transmit].TrySubmit([place], [], (ulong)i).Should().BeTrue();
        }

        Publish(Transmit);
        int returned = 0;
        await Eventually.TrueAsync(() =>
        {
            int arrived = _queues[Receive].Drain(_done);
            foreach (DriverCompletion packet in _done.AsSpan(0, arrived))
                RequirePacket(packet, PacketOf(seed, first + returned++));
            FillReceiveRing(_done.Take(arrived).Select(packet => (int)packet.Token));
            return returned == count;
        });
        await Eventually.TrueAsync(() => (_queues[Transmit].Drain(_done) is var _) && _queues[Transmit].InFlight == 0);
    }

    private void RequirePacket(DriverCompletion completion, byte[] expected)
    {
        Span<byte> packet = _packet.AsSpan(0, (int)completion.BytesWritten);
        _lease.TryCopyTo(PlaceOf((int)completion.Token), packet).Should().BeTrue();
        packet[HeaderBytes..].SequenceEqual(expected).Should().BeTrue("packets come back unchanged and in order");
    }

    private void FillReceiveRing(IEnumerable<int> slots)
    {
        foreach (int slot in slots)
            _queues[Receive].TrySubmit([], [new GuestBuffer(PlaceOf(slot), BufferBytes)], (ulong)slot).Should().BeTrue();
        Publish(Receive);
    }

    private void Publish(int queue)
    {
        if (_queues[queue].Publish())
            _kicks[queue].Signal();
    }

    private static GuestAddress PlaceOf(int slot) => new(ReceivedAt + ((ulong)slot * BufferBytes));

    private static byte[] PacketOf(int seed, int number)
    {
        Random random = new(HashCode.Combine(seed, number));
        byte[] packet = new byte[random.Next(60, LongestPacket + 1)];
        random.NextBytes(packet);
        packet[0] &= 0xFE; // to one station
        return packet;
    }
}
