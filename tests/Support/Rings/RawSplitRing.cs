using Vhost.Protocol;

namespace Vhost.Tests.Support;

/// <summary>
/// A split ring in guest memory that a test writes word by word, as either side, lies included. It knows the layout of the specification
/// and nothing of the code under test.
/// </summary>
public sealed class RawSplitRing : IDisposable
{
    public const ushort Next = 1;
    public const ushort Write = 2;
    public const ushort Indirect = 4;

    private readonly GuestMemoryLease _lease;
    private readonly ulong _descriptors;
    private readonly ulong _available;
    private readonly ulong _used;
    private bool _disposed;

    public RawSplitRing(GuestMemory memory, ulong at, int size)
        : this(memory, at, at + (16UL * (ulong)size), (at + (18UL * (ulong)size) + 6 + 3) / 4 * 4, size)
    {
    }

    public RawSplitRing(GuestMemory memory, ulong descriptors, ulong available, ulong used, int size)
    {
        ArgumentNullException.ThrowIfNull(memory);
        _lease = memory.Acquire();
        Size = size;
        _descriptors = descriptors;
        _available = available;
        _used = used;
        End = _used + 6 + (8UL * (ulong)size);
    }

    public int Size { get; }

    /// <summary>The first guest address behind the ring.</summary>
    public ulong End { get; }

    public GuestAddress DescriptorTable => new(_descriptors);

    public GuestAddress AvailableRing => new(_available);

    public GuestAddress UsedRing => new(_used);

    public ushort AvailableFlags { get => Read<ushort>(_available); set => Put(_available, value); }

    public ushort AvailableIndex { get => Read<ushort>(_available + 2); set => Put(_available + 2, value); }

    public ushort UsedEvent { get => Read<ushort>(_available + 4 + (2UL * (ulong)Size)); set => Put(_available + 4 + (2UL * (ulong)Size), value); }

    public ushort UsedFlags { get => Read<ushort>(_used); set => Put(_used, value); }

    public ushort UsedIndex { get => Read<ushort>(_used + 2); set => Put(_used + 2, value); }

    public ushort AvailEvent { get => Read<ushort>(_used + 4 + (8UL * (ulong)Size)); set => Put(_used + 4 + (8UL * (ulong)Size), value); }

    public void Descriptor(int index, ulong address, uint length, ushort flags = 0, ushort next = 0) =>
        DescriptorAt(_descriptors + (16UL * (ulong)index), address, length, flags, next);

    public void DescriptorAt(ulong guestAddress, ulong address, uint length, ushort flags = 0, ushort next = 0)
    {
        Put(guestAddress, address);
        Put(guestAddress + 8, length);
        Put(guestAddress + 12, flags);
        Put(guestAddress + 14, next);
    }

    /// <summary>Writes an available entry and publishes it.</summary>
    public void Offer(ushort head)
    {
        ushort index = AvailableIndex;
        AvailableEntry(index, head);
        AvailableIndex = (ushort)(index + 1);
    }

    public void AvailableEntry(int slot, ushort head) => Put(_available + 4 + (2UL * (ulong)(slot % Size)), head);

    /// <summary>Writes a used element and publishes it.</summary>
    public void Use(uint id, uint length)
    {
        ushort index = UsedIndex;
        UsedElement(index, id, length);
        UsedIndex = (ushort)(index + 1);
    }

    public void UsedElement(int slot, uint id, uint length)
    {
        Put(_used + 4 + (8UL * (ulong)(slot % Size)), id);
        Put(_used + 8 + (8UL * (ulong)(slot % Size)), length);
    }

    public (uint Id, uint Length) UsedElement(int slot) =>
        (Read<uint>(_used + 4 + (8UL * (ulong)(slot % Size))), Read<uint>(_used + 8 + (8UL * (ulong)(slot % Size))));

    public T Read<T>(ulong address)
        where T : unmanaged =>
        _lease.TryRead(new GuestAddress(address), out T value) ? value : throw new InvalidOperationException($"0x{address:x} is not mapped");

    public void Put<T>(ulong address, T value)
        where T : unmanaged
    {
        if (!_lease.TryWrite(new GuestAddress(address), value))
        {
            throw new InvalidOperationException($"0x{address:x} is not mapped");
        }
    }

    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _lease.Dispose();
        }
    }
}
