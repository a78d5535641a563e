using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Vhost.Protocol;

/// <summary>
/// The words of a split ring in shared memory, under the names of the specification (virtio 1.2, 2.7). Each accessor is one load or one store;
/// nothing is remembered and nothing is validated here but the bounds that <see cref="TryMap"/> checked once.
/// </summary>
/// <remarks>
/// Who writes what: the driver writes the descriptor table and the available ring, the device the used ring. The other process may write anything at
/// any time; a caller reads a word once and works on the copy. All fields are little-endian, and so is every supported host.
/// Safety: the pointers stay valid while the owner of the ring holds a lease on the table they were taken from. Every index is masked or was
/// compared with the size by the caller before it comes here.
/// </remarks>
internal readonly unsafe struct SplitRing
{
    private readonly byte* _descriptors;
    private readonly byte* _available;
    private readonly byte* _used;
    private readonly uint _mask;

    private SplitRing(nint descriptors, nint available, nint used, uint size)
    {
        _descriptors = (byte*)descriptors;
        _available = (byte*)available;
        _used = (byte*)used;
        _mask = size - 1;
    }

    internal uint Size => _mask + 1;

    internal uint Mask => _mask;

    /// <summary>Takes the addresses of a ring whose three parts were resolved and have the sizes of <see cref="SplitRingLayout"/>.</summary>
    internal static bool TryMap(nint descriptors, nint available, nint used, uint size, out SplitRing ring)
    {
        bool valid = SplitRingLayout.IsValidSize(size)
            && descriptors % SplitRingLayout.DescriptorTableAlignment == 0
            && available % SplitRingLayout.AvailableRingAlignment == 0
            && used % SplitRingLayout.UsedRingAlignment == 0;
        ring = valid ? new SplitRing(descriptors, available, used, size) : default;
        return valid;
    }

    // ---- descriptor table: written by the driver, read by the device

    /// <summary>Copies one descriptor: two loads, each word exactly once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal VirtqueueDescriptor ReadDescriptor(uint index)
    {
        byte* at = _descriptors + (index * (nuint)VirtqueueDescriptor.EncodedSize);
        return new VirtqueueDescriptor(*(ulong*)at, *(ulong*)(at + 8));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void WriteDescriptor(uint index, in VirtqueueDescriptor descriptor)
    {
        byte* at = _descriptors + (index * (nuint)VirtqueueDescriptor.EncodedSize);
        *(ulong*)at = descriptor.Address;
        *(ulong*)(at + 8) = descriptor.LengthFlagsNext;
    }

    /// <summary>Writes one descriptor past the caches, for a whole burst of them: see <see cref="PacketStream"/>, which says what else the caller has to do.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void StreamDescriptor(uint index, in VirtqueueDescriptor descriptor) =>
        Sse2.StoreAlignedNonTemporal(
            (ulong*)(_descriptors + (index * (nuint)VirtqueueDescriptor.EncodedSize)), Vector128.Create(descriptor.Address, descriptor.LengthFlagsNext));

    // ---- available ring: written by the driver, read by the device

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort ReadAvailableFlags() => Volatile.Read(ref *(ushort*)_available);

    internal void WriteAvailableFlags(ushort flags) => Volatile.Write(ref *(ushort*)_available, flags);

    /// <summary>Load-acquire: the entries and descriptors up to this index are visible after it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort ReadAvailableIndex() => Volatile.Read(ref *(ushort*)(_available + 2));

    /// <summary>Store-release: publishes the entries and descriptors written before it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void PublishAvailableIndex(ushort index) => Volatile.Write(ref *(ushort*)(_available + 2), index);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort ReadAvailableEntry(uint index) => *(ushort*)(_available + 4 + ((index & _mask) * (nuint)2));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void WriteAvailableEntry(uint index, ushort head) => *(ushort*)(_available + 4 + ((index & _mask) * (nuint)2)) = head;

    /// <summary>The driver's wish (EVENT_IDX): call when the used entry of this index is written.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort ReadUsedEvent() => Volatile.Read(ref *(ushort*)(_available + 4 + (Size * (nuint)2)));

    internal void WriteUsedEvent(ushort index) => Volatile.Write(ref *(ushort*)(_available + 4 + (Size * (nuint)2)), index);

    // ---- used ring: written by the device, read by the driver

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort ReadUsedFlags() => Volatile.Read(ref *(ushort*)_used);

    internal void WriteUsedFlags(ushort flags) => Volatile.Write(ref *(ushort*)_used, flags);

    /// <summary>Load-acquire: the elements up to this index, and the buffers they name, are visible after it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort ReadUsedIndex() => Volatile.Read(ref *(ushort*)(_used + 2));

    /// <summary>Store-release: publishes the elements and buffers written before it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void PublishUsedIndex(ushort index) => Volatile.Write(ref *(ushort*)(_used + 2), index);

    /// <summary>One load of both halves of an element: id in the low, len in the high 32 bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ulong ReadUsedElement(uint index) => Unsafe.ReadUnaligned<ulong>(_used + 4 + ((index & _mask) * (nuint)8));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void WriteUsedElement(uint index, uint id, uint length) =>
        Unsafe.WriteUnaligned(_used + 4 + ((index & _mask) * (nuint)8), id | ((ulong)length << 32));

    /// <summary>The device's wish (EVENT_IDX): kick when the available entry of this index is written.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort ReadAvailEvent() => Volatile.Read(ref *(ushort*)(_used + 4 + (Size * (nuint)8)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void WriteAvailEvent(ushort index) => Volatile.Write(ref *(ushort*)(_used + 4 + (Size * (nuint)8)), index);

    /// <summary>Zeroes all three parts, for a driver that starts over.</summary>
    internal void Clear()
    {
        new Span<byte>(_descriptors, (int)SplitRingLayout.DescriptorTableSize(Size)).Clear();
        new Span<byte>(_available, (int)SplitRingLayout.AvailableRingSize(Size)).Clear();
        new Span<byte>(_used, (int)SplitRingLayout.UsedRingSize(Size)).Clear();
    }
}
