using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// A range of shared memory that was resolved once, for code that touches it many times. Valid while the maker of the window holds a lease
/// on the table it was resolved in. All access copies and is checked against the range.
/// </summary>
internal readonly unsafe struct MappedWindow
{
    private readonly byte* _start;
    private readonly ulong _length;

    // Safety: nothing is touched here; the range was resolved by TryOpen.
    private MappedWindow(nint start, ulong length)
    {
        _start = (byte*)start;
        _length = length;
    }

    /// <summary>Resolves a range. False when it is not inside one region.</summary>
    internal static bool TryOpen(GuestMemory memory, GuestAddress at, ulong length, out MappedWindow window)
    {
        bool found = memory.TryGetAddress(at, length, out nint start);
        window = found ? new MappedWindow(start, length) : default;
        return found;
    }

    // Safety: the check keeps the access inside the range; the maker's lease keeps the range mapped.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Write<T>(ulong offset, T value)
        where T : unmanaged
    {
        Check(offset, (uint)sizeof(T));
        Unsafe.WriteUnaligned(_start + offset, value);
    }

    // Safety: as for writing; the value is copied once and may be any bytes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal T Read<T>(ulong offset)
        where T : unmanaged
    {
        Check(offset, (uint)sizeof(T));
        return Unsafe.ReadUnaligned<T>(_start + offset);
    }

    /// <summary>Asks for the line of a place that will be read soon.</summary>
    // Safety: a hint, which touches nothing.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Prefetch(ulong offset) => PacketStream.PrefetchLine((nint)(_start + offset));

    // Safety: as for one value.
    internal void CopyFrom(ReadOnlySpan<byte> source, ulong offset)
    {
        Check(offset, (uint)source.Length);
        MappedBytes.CopyFrom(source, (nint)(_start + offset));
    }

    // Safety: as for one value.
    internal void CopyTo(ulong offset, Span<byte> destination)
    {
        Check(offset, (uint)destination.Length);
        MappedBytes.CopyTo((nint)(_start + offset), destination);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Check(ulong offset, uint count)
    {
        if (offset > _length || count > _length - offset)
            ThrowOutside();
    }

    private static void ThrowOutside() => throw new ArgumentOutOfRangeException("offset", "The access is not inside the window.");
}
