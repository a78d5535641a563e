using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Vhost.Protocol;

/// <summary>
/// The copies between mapped memory and ours. Callers have validated the range against a table they hold a lease on; the other process may
/// change the bytes at any moment, which a copy survives: it holds either value of each byte.
/// </summary>
internal static unsafe class MappedBytes
{
    // Safety: [source, source + destination.Length) is mapped while the caller's lease is held.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void CopyTo(nint source, Span<byte> destination) => new ReadOnlySpan<byte>((void*)source, destination.Length).CopyTo(destination);

    // Safety: [destination, destination + source.Length) is mapped writable while the caller's lease is held.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void CopyFrom(ReadOnlySpan<byte> source, nint destination) => source.CopyTo(new Span<byte>((void*)destination, source.Length));

    /// <summary>Copies one value out.</summary>
    // Safety: as many bytes at the address as the value has are mapped while the caller's lease is held.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static T Read<T>(nint source)
        where T : unmanaged => Unsafe.ReadUnaligned<T>((void*)source);

    /// <summary>Copies one value in.</summary>
    // Safety: as many bytes at the address as the value has are mapped writable while the caller's lease is held.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Write<T>(nint destination, T value)
        where T : unmanaged => Unsafe.WriteUnaligned((void*)destination, value);

    // Safety: [destination, destination + length) is mapped writable while the caller's lease is held.
    internal static void Fill(nint destination, uint length, byte value)
    {
        while (length > 0)
        {
            int step = (int)Math.Min(length, 1u << 30);
            new Span<byte>((void*)destination, step).Fill(value);
            destination += step;
            length -= (uint)step;
        }
    }

    /// <summary>
    /// Copies between two ranges that do not overlap. Small packets are two vector registers at most, which here costs no call.
    /// </summary>
    // Safety: both ranges are mapped while the caller's leases are held, or lie in a pinned array that the caller keeps alive; the destination is writable.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Copy(nint source, nint destination, uint length)
    {
        if (Vector256.IsHardwareAccelerated && length - 32 <= 32)
        {
            Vector256<byte> first = Vector256.Load((byte*)source);
            Vector256<byte> last = Vector256.Load((byte*)source + length - 32);
            first.Store((byte*)destination);
            last.Store((byte*)destination + length - 32);
            return;
        }

        CopyAnyLength(source, destination, length);
    }

    /// <summary>Reads the header of a packet: its first eight bytes, and csum_offset.</summary>
    // Safety: ten bytes at the address are mapped while the caller's lease is held.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ulong ReadPacketHeader(nint at, out ushort checksumOffset)
    {
        checksumOffset = *(ushort*)(at + 8);
        return *(ulong*)at;
    }

    /// <summary>Writes the header of a packet: its first eight bytes, csum_offset and, of twelve, the number of buffers.</summary>
    // Safety: as many bytes at the address as the header has are mapped writable while the caller's lease is held.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void WritePacketHeader(nint at, ulong offload, ushort checksumOffset, uint headerLength, ushort buffers)
    {
        *(ulong*)at = offload;
        if (headerLength == VirtioNetHeader.Size)
            *(uint*)(at + 8) = checksumOffset | ((uint)buffers << 16);
        else
            *(ushort*)(at + 8) = checksumOffset;
    }

    /// <summary>Where a pinned array lies.</summary>
    // Safety: the caller pinned the array for good when it allocated it, and keeps it alive as long as it uses the address.
    internal static nint AddressOf(byte[] pinned) => (nint)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(pinned));

    // Safety: as for the caller.
    private static void CopyAnyLength(nint source, nint destination, uint length) => Buffer.MemoryCopy((void*)source, (void*)destination, length, length);
}
