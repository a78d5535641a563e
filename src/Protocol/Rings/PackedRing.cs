using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Vhost.Protocol;

/// <summary>
/// The words of a packed ring in shared memory, under the names of the specification (virtio 1.2, 2.8). Each accessor is one load or one store;
/// nothing is remembered and nothing is validated here but the bounds that <see cref="TryMap"/> checked once.
/// </summary>
/// <remarks>
/// Who writes what: both sides write the descriptor ring, each a descriptor that is its own at that moment; the driver writes the driver area, the device the device area.
/// The other process may write anything at any time; a caller reads a word once and works on the copy.
/// Safety: the pointers stay valid while the owner of the ring holds a lease on the table they were taken from. Every position was kept below the size by its owner.
/// </remarks>
internal readonly unsafe struct PackedRing
{
    private const uint PerLine = 64 / PackedDescriptor.EncodedSize;

    private readonly byte* _descriptors;
    private readonly byte* _driverArea;
    private readonly byte* _deviceArea;

    private PackedRing(nint descriptors, nint driverArea, nint deviceArea, uint size)
    {
        _descriptors = (byte*)descriptors;
        _driverArea = (byte*)driverArea;
        _deviceArea = (byte*)deviceArea;
        Size = size;
    }

    internal uint Size { get; }

    /// <summary>Takes the addresses of a ring whose three parts were resolved and have the sizes of <see cref="PackedRingLayout"/>.</summary>
    internal static bool TryMap(nint descriptors, nint driverArea, nint deviceArea, uint size, out PackedRing ring)
    {
        bool valid = PackedRingLayout.IsValidSize(size)
            && descriptors % PackedRingLayout.DescriptorRingAlignment == 0
            && driverArea % PackedRingLayout.EventAreaAlignment == 0
            && deviceArea % PackedRingLayout.EventAreaAlignment == 0;
        ring = valid ? new PackedRing(descriptors, driverArea, deviceArea, size) : default;
        return valid;
    }

    /// <summary>Load-acquire: when the flags say that a descriptor is ours, the rest of it, and what it names, is visible after this.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ushort ReadFlags(uint position) => Volatile.Read(ref *(ushort*)(At(position) + 14));

    /// <summary>Copies one descriptor: two loads, each word exactly once. Its flags are read again and are the ones to go by.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal PackedDescriptor ReadDescriptor(uint position)
    {
        byte* at = At(position);
        return new PackedDescriptor(*(ulong*)at, *(ulong*)(at + 8));
    }

    /// <summary>
    /// Copies one descriptor, its second half by a load-acquire and before its first: when the flags in the copy say that it is ours, the rest of the copy is what was published.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal PackedDescriptor ReadPublished(uint position)
    {
        byte* at = At(position);
        ulong second = Volatile.Read(ref *(ulong*)(at + 8));
        return new PackedDescriptor(*(ulong*)at, second);
    }

    /// <summary>
    /// Asks for the lines behind that of a position at once, for one who has seen that the other side got there: it shows the first descriptor of a batch last, so the rest
    /// is there too. Read one after the other, each line would wait for the one before it.
    /// </summary>
    /// <param name="position">The descriptor that was seen.</param>
    /// <param name="descriptors">How many at most are of interest.</param>
    internal void PrefetchBehind(uint position, uint descriptors)
    {
        for (uint ahead = PerLine; ahead < descriptors; ahead += PerLine)
        {
            uint at = position + ahead;
            at = at >= Size ? at - Size : at;
            if (at >= Size)
            {
                break;
            }

            PacketStream.PrefetchLine((nint)At(at));
        }
    }

    /// <summary>How many of so many descriptors from a position on there are up to the end of the last line of which they take all that is left.</summary>
    internal static int InWholeLines(uint position, int descriptors) => Math.Max(0, descriptors - (int)((position + (uint)descriptors) % PerLine));

    /// <summary>One load of length, id and flags: all that a used descriptor says.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal PackedDescriptor ReadUsedDescriptor(uint position) => new(0, Volatile.Read(ref *(ulong*)(At(position) + 8)));

    /// <summary>Writes a whole descriptor with plain stores, for all but the one that publishes a batch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void WriteDescriptor(uint position, in PackedDescriptor descriptor)
    {
        byte* at = At(position);
        *(ulong*)at = descriptor.Address;
        *(ulong*)(at + 8) = descriptor.LengthIdFlags;
    }

    /// <summary>Writes a whole descriptor past the caches, for a whole burst of them: see <see cref="PacketStream"/>, which says what else the caller has to do.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void StreamDescriptor(uint position, in PackedDescriptor descriptor) =>
        Sse2.StoreAlignedNonTemporal((ulong*)At(position), Vector128.Create(descriptor.Address, descriptor.LengthIdFlags));

    /// <summary>Writes a used descriptor with a plain store; the address stays what the driver wrote.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void WriteUsed(uint position, in PackedDescriptor descriptor) => *(ulong*)(At(position) + 8) = descriptor.LengthIdFlags;

    /// <summary>Writes a descriptor, its flags in a store-release: publishes it, and everything written before it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void PublishDescriptor(uint position, in PackedDescriptor descriptor)
    {
        byte* at = At(position);
        *(ulong*)at = descriptor.Address;
        Volatile.Write(ref *(ulong*)(at + 8), descriptor.LengthIdFlags);
    }

    /// <summary>Store-release of a used descriptor: publishes it, and everything written before it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void PublishUsed(uint position, in PackedDescriptor descriptor) => Volatile.Write(ref *(ulong*)(At(position) + 8), descriptor.LengthIdFlags);

    /// <summary>What the driver wants to be told, both halves in one load.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal PackedEvent ReadDriverArea() => new(Volatile.Read(ref *(uint*)_driverArea));

    internal void WriteDriverArea(PackedEvent wish) => Volatile.Write(ref *(uint*)_driverArea, wish.Word);

    /// <summary>What the device wants to be told, both halves in one load.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal PackedEvent ReadDeviceArea() => new(Volatile.Read(ref *(uint*)_deviceArea));

    internal void WriteDeviceArea(PackedEvent wish) => Volatile.Write(ref *(uint*)_deviceArea, wish.Word);

    /// <summary>Zeroes all three parts, for a driver that starts over.</summary>
    internal void Clear()
    {
        new Span<byte>(_descriptors, (int)PackedRingLayout.DescriptorRingSize(Size)).Clear();
        WriteDriverArea(default);
        WriteDeviceArea(default);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte* At(uint position) => _descriptors + (position * (nuint)PackedDescriptor.EncodedSize);
}
