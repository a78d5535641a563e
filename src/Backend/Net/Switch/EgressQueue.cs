using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Packets that wait for one pair of queues of a port. Whoever adds never waits: what there is no room for is not taken. Of several sources each may hold as much as is free beside it,
/// so that however many send without end, there is always room for one more.
/// </summary>
/// <remarks>
/// Threading: any thread adds; one takes at a time, between <see cref="TryBegin"/> and the <see cref="Look"/> that finds nothing or <see cref="End"/>. Packets stay here, and their
/// buffers count, until <see cref="Release"/>; a queue that is closed meanwhile is emptied by the one that takes.
/// </remarks>
internal sealed class EgressQueue
{
    private readonly Lock _gate = new();
    private readonly PacketPool _pool;
    private readonly Slot[] _slots;
    private readonly int[] _held;
    private readonly bool _isShared;
    private int _first;
    private int _count;
    private int _buffers;
    private bool _open;
    private bool _taking;

    /// <summary>Somebody wanted to take while another one was held up taking, and went away.</summary>
    private bool _missed;
    private int _life;

    /// <summary>Makes a queue that is closed.</summary>
    /// <param name="pool">Where the packets come from.</param>
    /// <param name="buffers">Buffers that the packets may have together, and segments that they may be cut into.</param>
    /// <param name="sources">How many sources there are, the port's own guest among them, which sends itself nothing.</param>
    internal EgressQueue(PacketPool pool, int buffers, int sources)
    {
        _pool = pool;
        _slots = new Slot[buffers];
        _isShared = sources > 2;
        _held = new int[sources];
    }

    /// <summary>How many packets the guest is given for one that is to be cut by whoever does it: 1 where it is the guest.</summary>
    internal Func<PacketBuffer, int>? SegmentsOf { get; set; }

    /// <summary>Packets that wait.</summary>
    internal int Count => Volatile.Read(ref _count);

    /// <summary>Nobody is there: what waits is dropped, and nothing is taken.</summary>
    internal void Close()
    {
        lock (_gate)
        {
            _open = false;
            _life++;
            if (!_taking)
                Drop(_count);
        }
    }

    /// <summary>Takes packets over; those that were taken are null then.</summary>
    /// <param name="packets">Packets of the pool.</param>
    /// <param name="source">Whose they are.</param>
    /// <param name="wakes">Whether somebody has to be told, since nobody is taking at present.</param>
    /// <returns>How many were taken; a negative number when the queue is closed.</returns>
    internal int Add(Span<PacketBuffer?> packets, int source, out bool wakes)
    {
        lock (_gate)
        {
            int taken = 0;
            for (int i = 0; _open && i < packets.Length; i++)
            {
                PacketBuffer packet = packets[i]!;
                int buffers = ChargeOf(packet);
                if (!TryCharge(buffers, source))
                    continue;
                Put(packet, buffers, source);
                packets[i] = null;
                taken++;
            }

            wakes = taken > 0 && !_taking;
            return _open ? taken : -1;
        }
    }

    /// <summary>Adds a copy of a packet.</summary>
    /// <returns>As <see cref="Add"/>.</returns>
    internal int AddCopy(PacketBuffer packet, int source, out bool wakes)
    {
        wakes = false;
        int buffers = ChargeOf(packet);
        lock (_gate)
        {
            if (!_open)
                return -1;
            if (!TryCharge(buffers, source))
                return 0;
        }

        // Not under the lock: a long packet takes its time.
        bool copied = _pool.TryRent(out PacketBuffer? copy) && copy.TryCopyFrom(packet);
        lock (_gate)
        {
            bool kept = copied && _open;
            if (kept)
            {
                Put(copy!, buffers, source);
                wakes = !_taking;
                return 1;
            }

            Charge(-buffers, source);
        }

        if (copy is not null)
            _pool.Return(copy);
        return 0;
    }

    /// <summary>Begins to take, and opens the queue. False while somebody else does, who may be held up by the memory of a guest that is gone.</summary>
    /// <param name="life">Another number after each <see cref="Close"/>: what was seen of the queue before is gone.</param>
    internal bool TryBegin(out int life)
    {
        lock (_gate)
        {
            life = _life;
            if (_taking)
            {
                _missed = true;
                return false;
            }

            _open = true;
            return _taking = true;
        }
    }

    /// <summary>The packets at the front.</summary>
    /// <param name="packets">Filled from the start.</param>
    /// <returns>How many; 0 ends taking.</returns>
    internal int Look(Span<PacketBuffer> packets)
    {
        lock (_gate)
        {
            if (!_open)
                Drop(_count);
            int count = Math.Min(packets.Length, _count);
            for (int i = 0; i < count; i++)
                packets[i] = _slots[(_first + i) % _slots.Length].Packet!;
            _taking = count > 0;
            return count;
        }
    }

    /// <summary>The first packets have been dealt with.</summary>
    internal void Release(int count)
    {
        lock (_gate)
            Drop(count);
    }

    /// <summary>Ends taking although there may be packets left.</summary>
    internal void End()
    {
        lock (_gate)
        {
            _taking = false;
            if (!_open)
                Drop(_count);
        }
    }

    /// <summary>Whether somebody went away while another one took, who has ended: he is to be woken, and told once. Whoever has taken asks for it.</summary>
    internal bool TakeMissed()
    {
        lock (_gate)
        {
            bool missed = _missed && !_taking;
            _missed &= !missed;
            return missed;
        }
    }

    /// <summary>
    /// What a packet counts for: its buffers, and where it has to be cut for the guest, the segments that this makes, which are the port's work. Never more than a quarter of the room, so that each can be
    /// sent some time.
    /// </summary>
    private int ChargeOf(PacketBuffer packet)
    {
        int buffers = 1;
        for (PacketBuffer? more = packet.Next; more is not null; more = more.Next)
            buffers++;
        return OffloadRules.IsCut(packet.OffloadWord) && SegmentsOf is { } segmentsOf ? Math.Max(buffers, Math.Min(segmentsOf(packet), _slots.Length / 4)) : buffers;
    }

    /// <summary>As a switch of fixed memory does it (dynamic thresholds): n sources that send without end have 1/(n + 1) of the room each, and as much stays free.</summary>
    private bool TryCharge(int buffers, int source)
    {
        int free = _slots.Length - _buffers - buffers;
        if (free < 0 || (_isShared && _held[source] + buffers > free))
            return false;
        Charge(buffers, source);
        return true;
    }

    private void Charge(int buffers, int source)
    {
        _buffers += buffers;
        _held[source] += buffers;
    }

    /// <summary>There is a place: no packet has less than one buffer.</summary>
    private void Put(PacketBuffer packet, int buffers, int source)
    {
        _slots[(_first + _count) % _slots.Length] = new Slot { Packet = packet, Buffers = buffers, Source = source };
        _count++;
    }

    private void Drop(int count)
    {
        for (; count > 0; count--)
        {
            ref Slot slot = ref _slots[_first];
            PacketBuffer packet = slot.Packet!;
            Charge(-slot.Buffers, slot.Source);
            slot.Packet = null;
            _first = (_first + 1) % _slots.Length;
            _count--;
            _pool.Return(packet);
        }
    }

    private struct Slot
    {
        internal PacketBuffer? Packet;
        internal int Buffers;
        internal int Source;
    }
}
