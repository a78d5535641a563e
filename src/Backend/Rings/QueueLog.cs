using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a queue is told about the dirty log.</summary>
/// <param name="Log">Where pages are marked.</param>
/// <param name="UsedRing">What is written to the ring itself is marked too: where the front-end says that the used ring lies (SET_VRING_ADDR, log_guest_addr). Null: not wanted.</param>
/// <param name="Changed">Signalled when pages were marked (SET_LOG_FD); null: nobody wants to know.</param>
/// <param name="WholeChains">Of a chain that is given back all writable buffers are marked, not only as many bytes as the device says it has written.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct QueueLogSetup(DirtyLog Log, ulong? UsedRing, EventNotifier? Changed, bool WholeChains);

/// <summary>The dirty log as one queue uses it, while its ring lies in one table. The worker's.</summary>
internal sealed class QueueLog
{
    private readonly QueueLogSetup _setup;
    private readonly GuestMemory _table;
    private readonly uint _size;
    private readonly ulong? _descriptorRing;
    private readonly ulong? _deviceArea;
    private bool _changed;

    private QueueLog(in QueueLogSetup setup, GuestMemory table, in VirtqueueSetup queue)
    {
        _setup = setup;
        _table = table;
        _size = queue.Size;
        IsPacked = queue.IsPacked;
        UsedRing = setup.UsedRing;
        if (table.Translations is not null && UsedRing is not null)
        {
            // What the front-end says is an I/O virtual address too (QEMU and DPDK); the log is about guest addresses.
            UsedRing = Find(queue.UsedRing, IsPacked ? PackedRingLayout.EventAreaSize : SplitRingLayout.UsedRingSize(_size));
        }

        if (IsPacked && setup.UsedRing is not null)
        {
            // Of a packed ring the front-end can name the device area alone; the descriptors are looked up.
            _descriptorRing = Find(queue.DescriptorTable, PackedRingLayout.DescriptorRingSize(_size));
            _deviceArea = Find(queue.UsedRing, PackedRingLayout.EventAreaSize);
        }
    }

    private bool IsPacked { get; }

    /// <summary>Where the used ring lies for the guest; null: it is not marked.</summary>
    private ulong? UsedRing { get; }

    /// <summary>Keeps the log's mapping. The queue holds a lease on the table as long as it uses this. Null when the session has ended meanwhile, and with it the log.</summary>
    internal static QueueLog? TryOpen(in QueueLogSetup setup, GuestMemory table, in VirtqueueSetup queue)
    {
        try
        {
            setup.Log.Hold();
        }
        catch (ObjectDisposedException)
        {
            return null;
        }

        return new QueueLog(setup, table, queue);
    }

    /// <summary>Lets go of the log's mapping.</summary>
    internal void Close() => _setup.Log.Release();

    /// <summary>The front-end has held up whoever told it, and is told no more.</summary>
    internal bool HoldsUp => _setup.Changed?.IsGivenUp == true;

    /// <summary>Bytes that the device may have written to a chain.</summary>
    internal uint Touched(uint bytesWritten, uint writable) => _setup.WholeChains ? writable : Math.Min(bytesWritten, writable);

    /// <summary>The device wrote the start of some buffers of the queue's table.</summary>
    internal void Wrote(GuestBuffers buffers, uint bytes)
    {
        for (GuestBuffers.Cursor cursor = buffers.Slice(0, bytes).GetCursor(); cursor.MoveNext();)
            Wrote(cursor.Address, cursor.Count);
    }

    /// <summary>The device wrote to a place of the queue's table.</summary>
    internal void Wrote(nint address, uint length)
    {
        if (length > 0 && _table.TryGetGuestAddress(address, length, out GuestAddress at))
            Wrote(at.Value, length);
    }

    internal void Wrote(ulong guestAddress, ulong length)
    {
        _setup.Log.MarkHeld(guestAddress, length);
        _changed = true;
    }

    /// <summary>The driver was shown what lies between two positions: indices of a split ring, positions with their wrap counters of a packed one.</summary>
    internal void ShowedUsed(ushort from, ushort to)
    {
        if (UsedRing is null || from == to)
            return;
        if (IsPacked)
        {
            Ring(_descriptorRing, 0, PackedDescriptor.EncodedSize, from & 0x7FFFu, Between(from & 0x7FFFu, to & 0x7FFFu));
            return;
        }

        Ring(UsedRing, 4, 8, from & (_size - 1), (ushort)(to - from));
        Part(UsedRing, 2, sizeof(ushort));
    }

    /// <summary>The device has told the driver when it wants kicks.</summary>
    internal void ShowedWish(bool eventIndex)
    {
        if (UsedRing is null)
            return;
        if (IsPacked)
            Part(_deviceArea, 0, PackedRingLayout.EventAreaSize);
        else
            Part(UsedRing, eventIndex ? 4 + (8UL * _size) : 0, sizeof(ushort));
    }

    /// <summary>Tells the front-end, if it wants to know, that there is something in the log.</summary>
    internal void Tell()
    {
        if (!_changed)
            return;
        _changed = false;
        try
        {
            _setup.Changed?.Signal();
        }
        catch (ObjectDisposedException)
        {
            // The session has ended without this worker.
        }
    }

    /// <summary>Entries from one place of a packed ring to another; all of them when the two are the same, on another turn.</summary>
    private uint Between(uint from, uint to) => to > from ? to - from : _size - from + to;

    /// <summary>Marks entries of a ring, which may go on at its start.</summary>
    private void Ring(ulong? start, ulong first, ulong entry, uint from, uint count)
    {
        uint untilEnd = Math.Min(count, _size - from);
        Part(start, first + (entry * from), entry * untilEnd);
        Part(start, first, entry * (count - untilEnd));
    }

    /// <summary>Marks a part of the ring; the front-end may have said any address.</summary>
    private void Part(ulong? start, ulong offset, ulong length)
    {
        if (start is not { } at || length == 0)
            return;
        if (at > ulong.MaxValue - offset)
            _setup.Log.CountOutside();
        else
            Wrote(at + offset, length);
    }

    private ulong? Find(UserAddress address, ulong length) =>
        _table.TryGetRingPart(address, length, VhostUserIotlbPermission.WriteOnly, out nint mapped) && _table.TryGetGuestAddress(mapped, length, out GuestAddress at) ? at.Value : null;
}
