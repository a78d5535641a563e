using Vhost.Protocol;

namespace Vhost.Tests.Support;

/// <summary>
/// A packed ring in guest memory that a test writes word by word, as either side, lies included. It knows the layout of the specification
/// and nothing of the code under test.
/// </summary>
public sealed class RawPackedRing : IDisposable
{
    public const ushort Next = 1;
    public const ushort Write = 2;
    public const ushort Indirect = 4;
    public const ushort Available = 1 << 7;
    public const ushort Used = 1 << 15;

    private readonly GuestMemoryLease _lease;
    private readonly ulong _descriptors;
    private readonly ulong _driverArea;
    private readonly ulong _deviceArea;
    private bool _disposed;

    public RawPackedRing(GuestMemory memory, ulong at, int size)
        : this(memory, at, at + (16UL * (ulong)size), at + (16UL * (ulong)size) + 4, size)
    {
    }

    public RawPackedRing(GuestMemory memory, ulong descriptors, ulong driverArea, ulong deviceArea, int size)
    {
        ArgumentNullException.ThrowIfNull(memory);
        _lease = memory.Acquire();
        Size = size;
        _descriptors = descriptors;
        _driverArea = driverArea;
        _deviceArea = deviceArea;
    }

    public int Size { get; }

    public GuestAddress DescriptorRing => new(_descriptors);

    public GuestAddress DriverArea => new(_driverArea);

    public GuestAddress DeviceArea => new(_deviceArea);

    /// <summary>Position and wrap counter in the low half, flags in the high half.</summary>
    public uint DriverEvent { get => Read<uint>(_driverArea); set => Put(_driverArea, value); }

    public uint DeviceEvent { get => Read<uint>(_deviceArea); set => Put(_deviceArea, value); }

    public void Descriptor(int index, ulong address, uint length, ushort id, ushort flags)
    {
        ulong at = _descriptors + (16UL * (ulong)index);
        Put(at, address);
        Put(at + 8, length);
        Put(at + 12, id);
        Put(at + 14, flags);
    }

    /// <summary>A descriptor that is available on the turn with this wrap counter.</summary>
    public void Offer(int index, ulong address, uint length, ushort id, ushort flags = 0, bool wrap = true) =>
        Descriptor(index, address, length, id, (ushort)(flags | (wrap ? Available : Used)));

    /// <summary>A descriptor that is used on the turn with this wrap counter; its address stays.</summary>
    public void Use(int index, ushort id, uint length, bool wrap = true)
    {
        ulong at = _descriptors + (16UL * (ulong)index);
        Put(at + 8, length);
        Put(at + 12, id);
        Put(at + 14, (ushort)(Write | (wrap ? Available | Used : 0)));
    }

    /// <summary>What stands in a descriptor; id and length belong to the flags, which the other side writes last.</summary>
    public (ushort Id, uint Length, ushort Flags) At(int index)
    {
        ulong at = _descriptors + (16UL * (ulong)index);
        ushort flags = Read<ushort>(at + 14);
        Volatile.ReadBarrier();
        return (Read<ushort>(at + 12), Read<uint>(at + 8), flags);
    }

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
