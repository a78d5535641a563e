using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Packets that are built in shared memory instead of being copied there.</summary>
public sealed partial class NetSender
{
    private readonly BuiltPacket[] _built = new BuiltPacket[OutgoingBurst.MaxCount];

    private int _turns;

    /// <summary>Places that the burst has which occupies the queue.</summary>
    private int _builtCount;

    /// <summary>Places of shared memory in which packets are built.</summary>
    public int PlaceCount => Shape.Slots;

    /// <summary>Bytes of the longest packet that fits into one place; longer ones go with <see cref="SendBurst"/>.</summary>
    public int PlaceCapacity => Math.Min(NetQueueShape.LongestPacket, (int)_slots.Room);

    /// <summary>
    /// Begins packets that are built where the device will read them: for packets of some hundred bytes of which only the start is new, since a place keeps its bytes
    /// (see <see cref="OutgoingBurst"/>). Those that are new as a whole are sent faster by <see cref="SendBurst"/>, and so are small ones.
    /// </summary>
    /// <example>
    /// <code>
    /// using OutgoingBurst burst = sender.BeginBurst(32);
    /// for (int i = 0; i &lt; burst.Count; i++)
    /// {
    ///     if (!filled[burst.PlaceOf(i)])
    ///     {
    ///         burst.Write(i, header.Length, payload);
    ///         filled[burst.PlaceOf(i)] = true;
    ///     }
    ///
    ///     burst.Write(i, 0, header);
    ///     burst.SetLength(i, header.Length + payload.Length);
    /// }
    ///
    /// burst.Send(burst.Count);
    /// </code>
    /// </example>
    /// <param name="packets">How many are wanted, at least 1. A burst has at most <see cref="OutgoingBurst.MaxCount"/>.</param>
    /// <returns>The burst, which must be sent or disposed before this queue is called again; without packets when there is no room, as while the next back-end is looked for.</returns>
    /// <exception cref="VhostUserException">The queue is broken or the peer lost.</exception>
    /// <exception cref="InvalidOperationException">The last burst was neither sent nor disposed.</exception>
    public OutgoingBurst BeginBurst(int packets)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(packets, 1);
        ThrowIfFailed();
        PrepareFirstLines();
        if (!Enter())
            return default;
        int count;
        try
        {
            count = _builtCount = TakePlaces(Math.Min(packets, OutgoingBurst.MaxCount));
            if (count > 0)
            {
                _turns = _turns == int.MaxValue ? 1 : _turns + 1;
                Occupy(_turns);
            }
        }
        finally
        {
            Leave();
        }

        if (count > 0)
            return new OutgoingBurst(this, _turns, count);
        ThrowIfFailed();
        return default;
    }

    internal int PlaceOf(int turn, int packet)
    {
        RequireOpen(turn);
        return (int)_built[packet].Slot;
    }

    internal void WriteInPlace(int turn, int packet, int offset, ReadOnlySpan<byte> bytes)
    {
        RequireOpen(turn);
        if ((uint)offset > _slots.Room || (uint)bytes.Length > _slots.Room - (uint)offset)
            ThrowNoRoom(offset, bytes.Length);
        WriteAt(_built[packet].Slot, (int)_slots.HeaderLength + offset, bytes);
    }

    internal void SetLengthInPlace(int turn, int packet, int length)
    {
        RequireOpen(turn);
        if (length < 1 || length > PlaceCapacity)
            ThrowLength(length);
        _built[packet].Length = (uint)length;
    }

    internal void SetOffloadInPlace(int turn, int packet, PacketOffload offload)
    {
        RequireOpen(turn);
        _built[packet].Offload = offload.Word;
        _built[packet].ChecksumOffset = offload.ChecksumOffset;
    }

    internal void SendBuilt(int turn, int built, int count)
    {
        RequireOpen(turn);
        bool isServed = Return();
        int sent = 0;
        try
        {
            bool dead = !isServed || Ring.Fault != VirtqueueFault.None; // nobody is there, and the notifiers may be gone; or nothing more is shown to anybody
            _free.TakeBack(dead ? built : built - count);
            Counters.Lost += isServed || IsClosed ? 0 : count;
            if (dead)
                return;
            long bytes = 0;
            sent = SubmitBuilt(_built.AsSpan(0, count), ref bytes);
            Counters.Count(sent, bytes);
            if (sent > 0)
                Publish(count);
        }
        finally
        {
            End(published: sent > 0);
        }
    }

    internal void GiveUp(int turn, int built)
    {
        if (!IsOccupiedBy(turn))
            return;
        Return();
        _free.TakeBack(built);
        End(published: false);
    }

    private void End(bool published)
    {
        // The places may be used by the next burst, on another thread and with ordinary stores, which must not be overtaken.
        if (_stream && !published)
            RingOrdering.StreamedThenStore();
        Vacate();
    }

    /// <summary>The places of the burst that occupies the queue, in the order in which they were taken.</summary>
    private int ListBuilt(Span<uint> places)
    {
        if (!IsOccupied)
            return 0;
        for (int i = 0; i < _builtCount; i++)
            places[i] = _built[i].Slot;
        return _builtCount;
    }

    /// <summary>Takes as many places as there are entries of the ring for them; none of a ring that is faulted.</summary>
    private int TakePlaces(int wanted)
    {
        int count = RoomInPlace(wanted);
        if (count < wanted)
        {
            Collect();
            count = Ring.Fault == VirtqueueFault.None ? RoomInPlace(wanted) : 0;
        }

        _stream = count > 0 && ChoosesToStream(count, count);
        for (int i = 0; i < count; i++)
        {
            uint slot = _free.Take();
            _built[i] = new BuiltPacket { Slot = slot };
            if (_completed[slot].At != 0)
                Restore(slot);
        }

        return count;
    }

    private int RoomInPlace(int wanted) => Math.Min(wanted, Math.Min(_free.Count, Ring.FreeDescriptors / (Shape.SeparateHeader ? 2 : 1)));

    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private int SubmitBuilt(Span<BuiltPacket> packets, ref long bytes)
    {
        int sent = 0;
        foreach (ref BuiltPacket packet in packets)
        {
            if (packet.Length == 0 || !TryJudge(ref packet))
            {
                Counters.Refused++;
                _free.Put(packet.Slot);
                continue;
            }

            Span<byte> line = LineOf(packet.Slot);
            SetHeader(line, packet.Offload, packet.ChecksumOffset);
            _slots.Write(packet.Slot, 0, line, _stream);
            if (_classify)
                ClassifyBuilt(packet);
            Stage(ref packet);
            bytes += packet.Length;
            sent++;
        }

        Submit();
        return sent;
    }

    private void Stage(ref readonly BuiltPacket packet)
    {
        GuestAddress place = _places[packet.Slot].Address;
        uint header = _slots.HeaderLength;
        if (Shape.SeparateHeader)
        {
            _chain[0] = new GuestBuffer(place, header);
            _chain[1] = new GuestBuffer(new GuestAddress(place.Value + header), packet.Length);
            Ring.TrySubmit(_chain.AsSpan(0, 2), [], packet.Slot);
            return;
        }

        _staged[_count] = new GuestBuffer(place, header + packet.Length);
        _tokens[_count++] = packet.Slot;
    }

    /// <summary>Decides what the header says, and completes the checksum where the device would not. False when the device cannot be given the packet.</summary>
    private bool TryJudge(ref BuiltPacket packet)
    {
        if (OffloadRules.IsNone(packet.Offload))
        {
            (packet.Offload, packet.ChecksumOffset) = (0, 0);
            return true;
        }

        OffloadVerdict verdict = Shape.Offloads.Judge(ref packet.Offload, packet.ChecksumOffset, packet.Length);
        if (verdict == OffloadVerdict.CompleteChecksum)
        {
            CompleteInPlace(packet);
            (packet.Offload, packet.ChecksumOffset) = (0, 0);
        }

        return verdict != OffloadVerdict.Refuse;
    }

    private void ClassifyBuilt(BuiltPacket packet)
    {
        MacAddress.TryRead(LineOf(packet.Slot)[(int)_slots.HeaderLength..], out MacAddress destination);
        Counters.Classify((int)packet.Length, destination);
    }

    private void RequireOpen(int turn)
    {
        if (!IsOccupiedBy(turn))
            throw new InvalidOperationException("The burst was sent or given up before.");
    }

    private static void ThrowNoRoom(int offset, int length) =>
        throw new ArgumentOutOfRangeException(nameof(offset), offset, FormattableString.Invariant($"{length} bytes there are not inside the place."));

    private void ThrowLength(int length) =>
        throw new ArgumentOutOfRangeException(nameof(length), length, FormattableString.Invariant($"A packet in one place has 1 to {PlaceCapacity} bytes."));

    private struct BuiltPacket
    {
        internal uint Slot;
        internal uint Length;
        internal ulong Offload;
        internal ushort ChecksumOffset;
    }
}
