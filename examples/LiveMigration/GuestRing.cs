using Vhost.Frontend;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>
/// A split ring as a guest's driver has it (virtio 1.2, 2.7): three tables in memory, and two numbers that the driver remembers. Memory is that of the host on which the guest runs at the moment.
/// </summary>
internal sealed class GuestRing(int index, ulong at, ushort size) : IDisposable
{
    private const ushort Next = 1;
    private const ushort DeviceWrites = 2;

    private ushort _available;
    private ushort _used;

    public EventNotifier Kick { get; } = new();

    public EventNotifier Call { get; } = new();

    /// <summary>What a front-end is told about it, without notifiers.</summary>
    public VringSettings Settings => new()
    {
        Index = index,
        Size = size,
        DescriptorTable = new GuestAddress(at),
        AvailableRing = new GuestAddress(at + 0x1000),
        UsedRing = new GuestAddress(at + 0x2000),
    };

    /// <summary>Offers buffers that lie one behind the other in the table, from a descriptor on.</summary>
    public void Offer(GuestRam ram, ushort head, params ReadOnlySpan<RingBuffer> buffers)
    {
        for (int i = 0; i < buffers.Length; i++)
        {
            ulong descriptor = at + (16UL * (uint)(head + i));
            ram.Write(descriptor, buffers[i].At);
            ram.Write(descriptor + 8, buffers[i].Length);
            ram.Write(descriptor + 12, (ushort)((buffers[i].DeviceWrites ? DeviceWrites : 0) | (i < buffers.Length - 1 ? Next : 0)));
            ram.Write(descriptor + 14, (ushort)(head + i + 1));
        }

        ram.Write(at + 0x1000 + 4 + (2UL * (uint)(_available % size)), head);
        _available++;
    }

    /// <summary>Shows the device what was offered.</summary>
    public void Publish(GuestRam ram)
    {
        Interlocked.MemoryBarrier(); // the entries before the index
        ram.Write(at + 0x1000 + 2, _available);
        Kick.Signal();
    }

    /// <summary>Takes a chain that the device has used.</summary>
    public bool TryTake(GuestRam ram, out ushort head, out uint written)
    {
        (head, written) = (0, 0);
        if (ram.Read<ushort>(at + 0x2000 + 2) == _used)
            return false;
        Interlocked.MemoryBarrier(); // the index before what it stands for
        ulong entry = at + 0x2000 + 4 + (8UL * (uint)(_used % size));
        (head, written) = ((ushort)ram.Read<uint>(entry), ram.Read<uint>(entry + 4));
        _used++;
        return true;
    }

    public void Dispose()
    {
        Kick.Dispose();
        Call.Dispose();
    }
}
