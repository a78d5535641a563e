using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The sending half of a pair of queues, towards the device (transmitq).</summary>
/// <inheritdoc/>
public sealed partial class NetSender : NetClientQueue
{
    private const ushort None = ushort.MaxValue;

    private readonly PacketSlots _slots;
    private readonly PacketArena? _arena;
    private readonly NetSlotQueue _free;
    private readonly GuestBuffer[] _places;

    /// <summary>For each place of a long packet the one in which it goes on.</summary>
    private readonly ushort[] _next;
    private readonly GuestBuffer[] _staged = new GuestBuffer[Chunk];
    private readonly ulong[] _tokens = new ulong[Chunk];
    private readonly DriverCompletion[] _done = new DriverCompletion[Chunk];
    private readonly GuestBuffer[] _chain;

    /// <summary>Bytes of the longest packet that is sent in one buffer when nothing of it is left to the device, and of the longest for which a place is enough.</summary>
    private readonly uint _plainRoom;
    private readonly uint _placeRoom;
    private readonly bool _classify;
    private MeasuredChoice _choice;
    private int _count;

    /// <summary>Buffers came back while a burst was published: the caller, who was told that there was no room, does not know of them.</summary>
    private bool _madeRoom;

    /// <summary>Packets of this burst are written past the caches.</summary>
    private bool _stream;

    internal NetSender(int index, DriverVirtqueue ring, NetQueueShape shape, in NetQueueMemory memory, EventNotifier kick, EventNotifier call, bool classify)
        : base(index, ring, shape, kick, call)
    {
        _slots = memory.Slots;
        _arena = memory.Arena;
        _places = memory.Places;
        _classify = classify;
        _placeRoom = shape.SeparateHeader ? 0 : Math.Min(_slots.Room, NetQueueShape.LongestPacket);
        _plainRoom = _arena is null ? _placeRoom : NetQueueShape.LongestPacket;
        _chain = new GuestBuffer[((NetQueueShape.BigBuffer + shape.SlotSize - 1) / shape.SlotSize) + 1];
        _free = new NetSlotQueue(shape.Slots);
        _next = new ushort[shape.Slots];
        Array.Fill(_next, None);
        ring.DisarmCall();
    }

    /// <summary>Buffers in shared memory (<see cref="NetClientOptions.BufferSize"/> bytes each) that packets could take at once; on the thread that uses the queue; what the device has done with is counted only after <see cref="Reclaim"/>.</summary>
    public int FreeBuffers => Math.Min(_free.Count, Ring.FreeDescriptors);

    /// <summary>
    /// Bytes of the longest packet that the queue can ever take, without the virtio header: 65550, or fewer where the device is so old that the header needs a descriptor of its own, and the ring has
    /// few and small buffers.
    /// </summary>
    public int MaxPacketLength => Math.Min(NetQueueShape.LongestPacket, _arena is null ? (Shape.Slots * Shape.SlotSize) - Shape.HeaderLength : NetQueueShape.LongestPacket);

    /// <summary>
    /// Sends packets: copies them into shared memory, shows all of them to the device at once, and kicks it if it asked for that. The buffers stay the
    /// caller's and may be used again at once. A checksum that the device would not complete is completed in the packet itself.
    /// </summary>
    /// <param name="packets">Each the first buffer of a packet.</param>
    /// <returns>
    /// How many were taken, from the first on: fewer when the queue has no room at present, none while the next back-end is looked for (<see cref="NetClientOptions.Reconnect"/>). One that the device
    /// cannot be given (see <see cref="NetQueueStatistics.Refused"/>) is taken and dropped.
    /// </returns>
    /// <exception cref="ArgumentException">A buffer is null; all packets before it were taken.</exception>
    /// <exception cref="InvalidOperationException">A burst is being built (<see cref="BeginBurst"/>), or another thread is inside.</exception>
    /// <exception cref="ObjectDisposedException">The client was disposed.</exception>
    /// <exception cref="VhostUserException">The queue is broken or the peer lost, and there is no more room: what was taken since then is lost.</exception>
    public int SendBurst(ReadOnlySpan<PacketBuffer> packets)
    {
        int taken = 0;
        if (!Enter())
            return 0;
        try
        {
            while (taken < packets.Length)
            {
                ReadOnlySpan<PacketBuffer> chunk = packets.Slice(taken, Math.Min(packets.Length - taken, Chunk));
                int count = SendChunk(chunk, out bool refused);
                taken += refused ? count + 1 : count;
                if (count < chunk.Length && !refused)
                    break;
            }

            if (taken > 0)
                Publish(packets.Length);
            if (taken < packets.Length && packets[taken] is null)
                PacketBuffer.ThrowMissing(taken);
        }
        finally
        {
            Leave();
        }

        if (taken == 0)
            ThrowIfFailed();
        return taken;
    }

    /// <summary>Takes back the buffers of packets that the device has done with. Sending does so by itself when it runs short.</summary>
    /// <returns>How many are free now, see <see cref="FreeBuffers"/>; 0 while the next back-end is looked for.</returns>
    /// <exception cref="VhostUserException">The queue is broken or the peer lost.</exception>
    public int Reclaim()
    {
        if (!Enter())
            return 0;
        try
        {
            _madeRoom = false;
            Collect();
        }
        finally
        {
            Leave();
        }

        int free = FreeBuffers;
        if (free == 0)
            ThrowIfFailed();
        return free;
    }

    /// <summary>
    /// Waits until the device has done with a packet, for callers that do not poll; while the next back-end is looked for, until that is there. It may return without reason.
    /// </summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    /// <exception cref="InvalidOperationException">A burst is being built.</exception>
    /// <exception cref="ObjectDisposedException">The client was disposed.</exception>
    /// <exception cref="VhostUserException">The queue is broken or the peer lost.</exception>
    public ValueTask WaitAsync(CancellationToken cancellationToken = default)
    {
        bool madeRoom = _madeRoom;
        _madeRoom = false;
        return madeRoom ? ValueTask.CompletedTask : WaitForCallAsync(cancellationToken);
    }

    /// <summary>Shows the packets to the device, and makes room for the next burst while they are on their way.</summary>
    private void Publish(int next)
    {
        bool shown = Ring.Show();
        int free = FreeBuffers;
        if (free < next)
            Collect();
        _madeRoom = FreeBuffers > free;
        Notify(shown);
    }

    /// <summary>For tests: every packet that can be streamed is.</summary>
    internal bool AlwaysStreams { get; set; }

    /// <summary>Whether the packets of a burst are written past the caches. Where a header has a descriptor of its own it never pays.</summary>
    private bool ChoosesToStream(int room, int packets) =>
        PacketStream.IsSupported && !Shape.SeparateHeader && (AlwaysStreams || (room >= PacketStream.LeastBurst && _choice.Next(packets)));

    /// <summary>Takes packets until there is no room, or until one that cannot be sent, which is not counted among them.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private int SendChunk(ReadOnlySpan<PacketBuffer> packets, out bool refused)
    {
        refused = false;
        if (FreeBuffers < packets.Length)
            Collect();
        if (Ring.Fault != VirtqueueFault.None)
            return 0;
        _stream = ChoosesToStream(Math.Min(packets.Length, Ring.FreeDescriptors), packets.Length);
        int taken = 0;
        long bytes = 0;
        while (true)
        {
            int plain = StagePlain(packets[taken..], ref bytes);
            taken += plain;
            Submit();
            if (taken == packets.Length || packets[taken] is not { } packet)
                break;
            if (plain > 0 && IsPlain(packet))
                continue; // a segment of the arena is full, perhaps not the next one
            if ((IsPlain(packet) && FitsPlace(packet)) || !TrySendOther(packet, out refused))
                break;
            bytes += packet.PacketLength;
            taken++;
        }

        Counters.Count(taken, bytes);
        if (_classify)
            Counters.Classify(packets[..taken]);
        return taken;
    }

    /// <summary>One buffer here and there, nothing left to the device: nearly all packets.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool IsPlain(PacketBuffer packet) =>
        packet.IsLinear && OffloadRules.IsNone(packet.OffloadWord) && (uint)(packet.Length - 1) < _plainRoom;

    private bool FitsPlace(PacketBuffer packet) => (uint)(packet.Length - 1) < _placeRoom;

    /// <summary>Writes plain packets, up to the first that is not, or for which there is no room.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private int StagePlain(ReadOnlySpan<PacketBuffer> packets, ref long bytes)
    {
        if (_arena is not { } arena)
            return StageInPlaces(packets, ref bytes);
        int most = Math.Min(Math.Min(packets.Length, Ring.FreeDescriptors), Chunk);
        uint plain = _plainRoom;
        uint total = 0;
        int count = 0;
        for (; count < most; count++)
        {
            PacketBuffer packet = packets[count];
            if (packet is null || !packet.IsLinear || !OffloadRules.IsNone(packet.OffloadWord) || (uint)(packet.Length - 1) >= plain)
                break;
            uint room = arena.SizeOf((uint)packet.Length);
            if (total + room > PacketArena.SegmentSize)
                break;
            total += room;
        }

        if (count == 0 || !arena.TryReserve(count, total, out uint offset, out ulong token))
            return StageInPlaces(packets, ref bytes);
        WriteToArena(arena, packets[..count], offset, ref bytes);
        _tokens.AsSpan(0, count).Fill(token);
        _count = count;
        return count;
    }

    private void WriteToArena(PacketArena arena, ReadOnlySpan<PacketBuffer> packets, uint offset, ref long bytes)
    {
        GuestBuffer[] staged = _staged;
        uint header = _slots.HeaderLength;
        bool stream = _stream;
        long sum = 0;
        for (int i = 0; i < packets.Length; i++)
        {
            PacketBuffer packet = packets[i];
            uint length = (uint)packet.Length;
            staged[i] = new GuestBuffer(new GuestAddress(arena.Write(packet, length, offset, stream)), header + length);
            offset += arena.SizeOf(length);
            sum += length;
        }

        bytes += sum;
    }

    /// <summary>Plain packets for which the arena has no room, or when there is none.</summary>
    private int StageInPlaces(ReadOnlySpan<PacketBuffer> packets, ref long bytes)
    {
        int most = Math.Min(Math.Min(packets.Length, Ring.FreeDescriptors), Chunk);
        int count = 0;
        while (count < most && packets[count] is { } packet && IsPlain(packet) && FitsPlace(packet) && TryStageInPlace(packet, out _staged[count], out _tokens[count]))
        {
            bytes += packet.Length;
            count++;
        }

        _count = count;
        return count;
    }

    private bool TryStageInPlace(PacketBuffer packet, out GuestBuffer buffer, out ulong token)
    {
        buffer = default;
        token = 0;
        if (_free.Count == 0)
            return false;
        uint slot = _free.Take();
        buffer = new GuestBuffer(_places[slot].Address, _slots.Write(slot, 0, packet));
        token = slot;
        return true;
    }

    private void Submit()
    {
        if (_count > 0)
            Ring.SubmitBurst(_staged.AsSpan(0, _count), deviceWrites: false, _tokens.AsSpan(0, _count), _stream); // less only when the ring is faulted: all is lost then
        _count = 0;
    }

    private void Collect()
    {
        int count;
        do
        {
            count = Ring.Drain(_done);
            for (int i = 0; i < count; i++)
            {
                ulong token = _done[i].Token;
                if ((token & PacketArena.TokenMark) != 0)
                {
                    _arena!.Release(token);
                    continue;
                }

                uint slot = (uint)token;
                while (slot != None)
                {
                    uint next = _next[slot];
                    _next[slot] = None;
                    _free.Put(slot);
                    slot = next;
                }
            }
        }
        while (count == _done.Length);
    }

    private protected override int Remake()
    {
        Collect();
        int lost = Ring.InFlight;
        Counters.Lost += lost;
        Ring.Reset();
        Ring.DisarmCall();
        _arena?.ReleaseAll();
        Array.Fill(_next, None);
        Span<uint> built = stackalloc uint[OutgoingBurst.MaxCount];
        _free.Restart(built[..ListBuilt(built)]);
        return lost;
    }
}
