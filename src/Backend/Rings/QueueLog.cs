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
    private readonly LoggedPart? _usedRing;
    private readonly LoggedPart? _descriptorRing;
    private readonly LoggedPart? _deviceArea;
    private bool _changed;

    private QueueLog(in QueueLogSetup setup, GuestMemory table, in VirtqueueSetup queue)
    {
        _setup = setup;
        _table = table;
        _size = queue.Size;
        IsPacked = queue.IsPacked;
        if (setup.UsedRing is not { } said)
            return;
        if (IsPacked)
        {
            // Of a packed ring the front-end can name the device area alone; the descriptors are looked up.
            _descriptorRing = LoggedPart.Find(table, queue.DescriptorTable, PackedRingLayout.DescriptorRingSize(_size));
            _deviceArea = LoggedPart.Find(table, queue.UsedRing, PackedRingLayout.EventAreaSize);
        }
        else
        {
            // Behind an IOMMU what the front-end says is an I/O virtual address too (QEMU and DPDK); the log is about guest addresses.
            _usedRing = table.Translations is not null ? LoggedPart.Find(table, queue.UsedRing, SplitRingLayout.UsedRingSize(_size)) : LoggedPart.Said(said);
        }
    }

    private bool IsPacked { get; }

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

    /// <summary>The same some way behind an address that the front-end may have said, which may be any.</summary>
    internal void Wrote(ulong guestAddress, ulong offset, ulong length)
    {
        if (guestAddress > ulong.MaxValue - offset)
            _setup.Log.CountOutside();
        else
            Wrote(guestAddress + offset, length);
    }

    /// <summary>The driver was shown what lies between two positions: indices of a split ring, positions with their wrap counters of a packed one.</summary>
    internal void ShowedUsed(ushort from, ushort to)
    {
        if (from == to)
            return;
        if (IsPacked)
        {
            Ring(_descriptorRing, 0, PackedDescriptor.EncodedSize, from & 0x7FFFu, Between(from & 0x7FFFu, to & 0x7FFFu));
            return;
        }

        Ring(_usedRing, 4, 8, from & (_size - 1), (ushort)(to - from));
        _usedRing?.Mark(this, 2, sizeof(ushort));
    }

    /// <summary>The device has told the driver when it wants kicks.</summary>
    internal void ShowedWish(bool eventIndex)
    {
        if (IsPacked)
            _deviceArea?.Mark(this, 0, PackedRingLayout.EventAreaSize);
        else
            _usedRing?.Mark(this, eventIndex ? 4 + (8UL * _size) : 0, sizeof(ushort));
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
    private void Ring(LoggedPart? part, ulong first, ulong entry, uint from, uint count)
    {
        if (part is null)
            return;
        uint untilEnd = Math.Min(count, _size - from);
        part.Mark(this, first + (entry * from), entry * untilEnd);
        if (count > untilEnd)
            part.Mark(this, first, entry * (count - untilEnd));
    }
}
