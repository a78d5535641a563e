using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>Both halves: a network card serves a guest whose memory is still under way, with real page faults.</summary>
public sealed class PostcopyNetTests
{
    private const int Packets = 120;
    private const int Header = 12;
    private const ulong RingMemory = 128 << 10;
    private const ulong DataAt = 0x4000_0000;
    private const ulong DataMemory = 1 << 20;
    private const uint RoomLength = 1600;

    [Theory]
    [InlineData(VirtioFeatures.None, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.RingPacked, QueueDispatch.DedicatedThread)]
    [InlineData(VirtioFeatures.EventIndex, QueueDispatch.SharedThreads)]
    public async Task Packets_in_memory_that_comes_late_and_out_of_order_come_back_whole(VirtioFeatures ring, QueueDispatch dispatch)
    {
        VirtioFeatures features = ring | VirtioFeatures.Version1;
        using GuestMemory there = NewMemory();
        using GuestMemory here = NewMemory();
        using Guest guest = new(there, features);
        using PageSource source = new(there, seed: 11);
        using CancellationTokenSource stop = new();
        using QueueThreads threads = new(1);
        NetDevice device = new(handler: new Echo());
        await using PostcopyPair pair = await PostcopyPair.StartAsync(device, features, new VhostUserBackendOptions { Dispatch = dispatch, Threads = dispatch == QueueDispatch.SharedThreads ? threads : null });
        await using PostcopyMigration migration = new(here, source.AskAsync);
        Task sending = source.SendAskedAsync(migration, stop.Token);
        await migration.JoinAsync(pair.Frontend).InTime();
        await pair.Frontend.SetMemoryAsync(here).InTime();
        await pair.Frontend.StartVringAsync(guest.Receiving).InTime();
        await pair.Frontend.StartVringAsync(guest.Transmitting).InTime();

        await Eventually.TrueAsync(() => device.Ports[0].ToGuest.Packets == Packets);

        migration.RequestedPages.Should().BePositive();
        await stop.CancelAsync();
        await sending.InTime();
        source.SendRest(migration);
        await migration.EndAsync().InTime();
        device.Ports[0].FromGuest.Packets.Should().Be(Packets);
        using GuestMemoryLease lease = here.Acquire();
        for (int packet = 0; packet < Packets; packet++)
        {
            byte[] received = new byte[guest.Sent[packet].Length];
            lease.TryCopyTo(new GuestAddress(guest.Rooms[packet].Address.Value + Header), received).Should().BeTrue();
            received.Should().Equal(guest.Sent[packet], "packet {0} came back", packet);
        }
    }

    private static GuestMemory NewMemory() => GuestRam.Create((0UL, RingMemory), (DataAt, DataMemory));

    /// <summary>A guest with packets on its way out and room for them to come back to, at which nobody has looked yet.</summary>
    private sealed class Guest : IDisposable
    {
        private readonly Random _random = new(2);
        private readonly DriverVirtqueue _receives;
        private readonly DriverVirtqueue _sends;
        private readonly EventNotifier _kick = new();
        private readonly EventNotifier _otherKick = new();
        private readonly VringBase _fresh;
        private ulong _next = DataAt;

        public Guest(GuestMemory memory, VirtioFeatures features)
        {
            _fresh = (features & VirtioFeatures.RingPacked) != 0 ? VringBase.FreshPacked : VringBase.FreshSplit;
            _receives = DriverVirtqueue.Create(memory, default, new DriverVirtqueueOptions(), features);
            _sends = DriverVirtqueue.Create(memory, new GuestAddress(RingMemory / 2), new DriverVirtqueueOptions(), features);
            using GuestMemoryLease lease = memory.Acquire();
            for (int packet = 0; packet < Packets; packet++)
            {
                byte[] bytes = new byte[_random.Next(60, 1500)];
                _random.NextBytes(bytes);
                GuestBuffer buffer = Take((uint)(Header + bytes.Length));
                lease.TryCopyFrom([.. new byte[Header], .. bytes], buffer.Address).Should().BeTrue();
                _sends.TrySubmit([buffer], [], 0).Should().BeTrue();
                Sent.Add(bytes);
                Rooms.Add(Take(RoomLength));
                _receives.TrySubmit([], [Rooms[^1]], 0).Should().BeTrue();
            }

            _sends.Publish();
            _receives.Publish();
        }

        public List<byte[]> Sent { get; } = [];

        public List<GuestBuffer> Rooms { get; } = [];

        public VringSettings Receiving => _receives.Describe(0, _kick, call: null) with { Base = _fresh };

        public VringSettings Transmitting => _sends.Describe(1, _otherKick, call: null) with { Base = _fresh };

        public void Dispose()
        {
            _receives.Dispose();
            _sends.Dispose();
            _kick.Dispose();
            _otherKick.Dispose();
        }

        private GuestBuffer Take(uint length)
        {
            ulong at = _next + (ulong)_random.Next(2000);
            _next = at + length;
            (_next - DataAt).Should().BeLessThan(DataMemory);
            return new GuestBuffer(new GuestAddress(at), length);
        }
    }

    /// <summary>Gives each packet back, the oldest first.</summary>
    private sealed class Echo : INetHandler
    {
        private readonly PacketPool _pool = new(2 * Packets);
        private readonly Lock _gate = new();
        private readonly Queue<PacketBuffer> _held = new();

        public void FromGuest(NetPort port)
        {
            PacketBuffer[] burst = new PacketBuffer[32];
            _pool.RentBurst(burst).Should().Be(32);
            int count;
            while ((count = port.DequeueBurst(burst)) > 0)
            {
                lock (_gate)
                {
                    foreach (PacketBuffer packet in burst.AsSpan(0, count))
                        _held.Enqueue(packet);
                }

                _pool.RentBurst(burst.AsSpan(0, count)).Should().Be(count);
            }

            _pool.ReturnBurst(burst);
            port.RequestToGuest();
        }

        public void ToGuest(NetPort port)
        {
            lock (_gate)
            {
                while (_held.TryPeek(out PacketBuffer? packet) && port.EnqueueBurst([packet]) == 1)
                {
                    _held.Dequeue();
                    _pool.Return(packet);
                }
            }
        }
    }
}
