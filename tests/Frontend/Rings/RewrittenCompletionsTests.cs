using System.Diagnostics;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>
/// A device that rewrites what it and the driver said while the driver collects, in numbers. Memory stands between guard pages. VHOST_TEST_DESCRIPTORS makes the run longer.
/// </summary>
public sealed class RewrittenCompletionsTests
{
    private const int Size = RewrittenUsedRing.Size;
    private const int Burst = 32;
    private const uint Room = 2048;
    private const ulong Data = 0x8000;

    /// <summary>The one who rewrites needs a processor at the right moment, which it does not get soon where others want it.</summary>
    private static readonly TimeSpan _patience = 6 * Eventually.Deadline;

    public static TheoryData<ulong> Rings() =>
        [(ulong)VirtioFeatures.None, (ulong)VirtioFeatures.InOrder, (ulong)VirtioFeatures.RingPacked, (ulong)(VirtioFeatures.RingPacked | VirtioFeatures.InOrder)];

    [Theory]
    [MemberData(nameof(Rings))]
    public void F10_F13_F15_each_request_completes_once_with_a_length_that_was_written(ulong features)
    {
        bool packed = ((VirtioFeatures)features).HasFlag(VirtioFeatures.RingPacked);
        using GuardedRam ram = new((0UL, Data + (Size * Room)));
        using DriverVirtqueue driver = DriverVirtqueue.Create(ram.Memory, default, new DriverVirtqueueOptions { Size = Size }, (VirtioFeatures)features | VirtioFeatures.Version1);
        using EventNotifier notifier = new();
        using RewrittenUsedRing device = new(ram.Memory, driver.Describe(0, notifier, notifier), packed);
        Requests requests = new(packed);
        HashSet<VirtqueueFault> faults = [];
        DriverCompletion[] completions = new DriverCompletion[Size];
        device.Rewrite();
        long started = Stopwatch.GetTimestamp();
        for (long done = 0; done < GuardedRam.Descriptors || (!faults.Contains(VirtqueueFault.UnknownCompletion) && Stopwatch.GetElapsedTime(started) < _patience);)
        {
            device.Complete(requests.Submit(driver));
            int count = driver.Drain(completions);
            foreach (DriverCompletion completion in completions.AsSpan(0, count))
                requests.Completed(completion);
            done += count;
            if (driver.Fault == VirtqueueFault.None && requests.Outstanding < Size)
                continue;

            // A packed ring that was lied to about its turn stands still: nothing is there for ever.
            faults.Add(driver.Fault);
            driver.Reset();
            device.Restart();
            requests.Restart();
        }

        faults.Should().Contain(VirtqueueFault.UnknownCompletion);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void F11_F15_packets_received_are_never_longer_than_their_buffers(bool packed)
    {
        using PacketQueue queue = new(packed, receives: true);
        PacketBuffer[] packets = new PacketBuffer[Burst];
        PacketPool pool = new(4096);
        pool.RentBurst(packets);

        queue.Run(() =>
        {
            int count = queue.Receiver.ReceiveBurst(packets);
            foreach (PacketBuffer packet in packets.AsSpan(0, count))
            {
                if (packet.PacketLength < 1 || packet.PacketLength > Size * (int)Room || packet.Offload != default)
                    Assert.Fail($"a packet of {packet.PacketLength} bytes with {packet.Offload}");
            }

            return count;
        });
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void F10_F15_a_sender_never_has_more_room_than_there_is(bool packed)
    {
        using PacketQueue queue = new(packed, receives: false);
        PacketBuffer[] packets = new PacketBuffer[Burst];
        new PacketPool(4096).RentBurst(packets);
        for (int i = 0; i < packets.Length; i++)
            packets[i].TryCopyFrom(new byte[i % 8 == 7 ? 5000 : 60]).Should().BeTrue();

        queue.Run(() =>
        {
            int count = queue.Sender.SendBurst(packets);
            if (queue.Sender.FreeBuffers > Size)
                Assert.Fail($"{queue.Sender.FreeBuffers} free");
            return count;
        });
    }

    /// <summary>What the driver should do next, from what it was told: which id each request gets, and which are under way.</summary>
    private sealed class Requests(bool packed)
    {
        private readonly LinkedList<ushort> _free = new(Enumerable.Range(0, Size).Select(id => (ushort)id));
        private readonly bool[] _underWay = new bool[Size];
        private readonly ushort[] _ids = new ushort[Burst];
        private readonly ulong[] _tokens = new ulong[Burst];
        private readonly GuestBuffer[] _buffers = new GuestBuffer[Burst];

        internal int Outstanding => Size - _free.Count;

        internal ReadOnlySpan<ushort> Submit(DriverVirtqueue driver)
        {
            int count = Math.Min(Burst, _free.Count);
            for (int i = 0; i < count; i++)
            {
                _ids[i] = _free.First!.Value;
                _free.RemoveFirst();
                _underWay[_ids[i]] = true;
                _tokens[i] = _ids[i];
                _buffers[i] = new GuestBuffer(new GuestAddress(Data + (_ids[i] * (ulong)Room)), Room);
            }

            if (driver.SubmitBurst(_buffers.AsSpan(0, count), deviceWrites: true, _tokens.AsSpan(0, count)) != count)
                Assert.Fail($"the driver has less room than {count}");
            driver.Publish();
            return _ids.AsSpan(0, count);
        }

        internal void Completed(in DriverCompletion completion)
        {
            ushort id = (ushort)completion.Token;
            if (completion.Token >= Size || !_underWay[id])
                Assert.Fail($"request {completion.Token} is not under way");
            uint length = completion.BytesWritten;
            bool wholeBatch = length == Room && !completion.LengthClamped;

            // What was never written is 0.
            bool lie = length == Room && completion.LengthClamped;
            if (length != RewrittenUsedRing.Near + id && length != RewrittenUsedRing.Far + id && !wholeBatch && !lie && length != 0)
                Assert.Fail($"request {id} completed with {completion}");
            _underWay[id] = false;
            if (packed)
                _free.AddFirst(id);
            else
                _free.AddLast(id);
        }

        internal void Restart()
        {
            _free.Clear();
            for (ushort id = 0; id < Size; id++)
                _free.AddLast(id);
            Array.Clear(_underWay);
        }
    }

    /// <summary>A sender or a receiver over a ring that is rewritten, made anew whenever the device broke it.</summary>
    private sealed class PacketQueue(bool packed, bool receives) : IDisposable
    {
        private const ulong Packets = 0x8000;

        private readonly EventNotifier _notifier = new();
        private readonly GuardedRam _ram = new((0UL, RoundUp(Packets + PacketSlots.SizeInBytes(Size, (int)Room, lead: 0) + PacketArena.Size)));
        private readonly ushort[] _ids = [.. Enumerable.Range(0, Burst).Select(id => (ushort)id)];

        internal NetReceiver Receiver { get; private set; } = null!;

        internal NetSender Sender { get; private set; } = null!;

        internal void Run(Func<int> turn)
        {
            long started = Stopwatch.GetTimestamp();
            bool broke = false;
            for (long done = 0; done < GuardedRam.Descriptors / 4 || (!broke && Stopwatch.GetElapsedTime(started) < _patience);)
            {
                VirtioFeatures features = VirtioFeatures.Version1 | (packed ? VirtioFeatures.RingPacked : 0) | (VirtioFeatures)(ulong)VirtioNetFeatures.MergeableBuffers;
                using DriverVirtqueue ring = Start(features, out ulong packets);
                using GuestMemoryLease lease = _ram.Memory.Acquire();
                using RewrittenUsedRing device = new(_ram.Memory, ring.Describe(0, _notifier, _notifier), packed, random => RewriteHeader(lease, packets, random));
                device.Rewrite();
                try
                {
                    for (int turns = 0; turns < 20_000; turns++)
                    {
                        int count = turn();
                        device.Complete(_ids.AsSpan(0, receives ? Burst : count));
                        done += Burst;
                    }
                }
                catch (VirtqueueException)
                {
                    broke = true;
                }
            }

            broke.Should().BeTrue("the device lies sooner or later");
        }

        public void Dispose()
        {
            _ram.Dispose();
            _notifier.Dispose();
        }

        /// <summary>The places for packets end where the memory ends.</summary>
        private DriverVirtqueue Start(VirtioFeatures features, out ulong packets)
        {
            NetClientOptions options = new() { QueueSize = Size, BufferSize = (int)Room };
            NetQueueShape shape = receives ? NetQueueShape.ForReceiving(options, features) : NetQueueShape.ForSending(options, features);
            DriverVirtqueue ring = DriverVirtqueue.Create(_ram.Memory, default, shape.Ring, features);
            packets = (_ram.Memory.Regions[0].Size - NetQueueMemory.SizeInBytes(shape)) / 64 * 64;
            NetQueueMemory memory = new(_ram.Memory, new GuestAddress(packets), shape);
            if (receives)
            {
                Receiver = new NetReceiver(0, ring, shape, memory, _notifier, _notifier, classify: true);
                Receiver.Start();
            }
            else
            {
                Sender = new NetSender(1, ring, shape, memory, _notifier, _notifier, classify: true);
            }

            return ring;
        }

        /// <summary>Mostly one buffer and nothing to do; sometimes more of either than there is.</summary>
        private static void RewriteHeader(GuestMemoryLease lease, ulong packets, ulong random)
        {
            ulong at = packets + PacketSlots.Offset((int)(random % Size), (int)Room, lead: 0);
            bool odd = (random >> 44) % 64 == 1;
            lease.TryWrite(new GuestAddress(at), odd ? random : 0UL);
            lease.TryWrite(new GuestAddress(at + 8), odd ? (uint)(random >> 13) : 1u << 16 << (int)((random >> 30) % 3 / 2));
        }

        private static ulong RoundUp(ulong bytes) => (bytes + 4095) / 4096 * 4096;
    }
}
