using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Vhost.Protocol;

/// <summary>
/// Writes packets of one place past the caches. An ordinary store to a line that the other processor has just read waits until that one has given it up, and stores
/// wait for one another; streamed ones do not wait at all. docs/performance.md has the measurements.
/// </summary>
/// <remarks>Streamed stores are not ordered with others: <see cref="RingOrdering.StreamedThenStore"/> stands between them and the word that publishes them.</remarks>
internal static unsafe class PacketStream
{
    /// <summary>Fewer packets at a time do not pay for the fence.</summary>
    internal const int LeastBurst = 8;

    /// <summary>A place must begin on a multiple of this, and the bytes written are rounded up to it.</summary>
    internal const uint Alignment = 16;

    private const uint Shortest = 16;

    /// <summary>The longest packet that there is.</summary>
    private const uint Longest = 65550;

    /// <summary>Read from place 16 - n on: moves the last n bytes of a register to its front and clears the others.</summary>
    private static ReadOnlySpan<byte> TailMasks =>
    [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
    ];

    internal static bool IsSupported => Ssse3.IsSupported && Sse2.X64.IsSupported;

    /// <summary>Whether a packet is of a size that is better streamed, behind a header of twelve bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool Fits(uint length, uint headerLength) => length - Shortest <= Longest - Shortest && headerLength == VirtioNetHeader.Size;

    /// <summary>Bytes that are written for a packet and its header.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static uint SizeOf(uint length) => (VirtioNetHeader.Size + length + Alignment - 1) & ~(Alignment - 1);

    /// <summary>Writes a header that asks for nothing, and a packet behind it.</summary>
    /// <param name="source">The packet.</param>
    /// <param name="length">Its bytes, for which <see cref="Fits"/> is true.</param>
    /// <param name="place">Where to, a multiple of <see cref="Alignment"/>.</param>
    /// <param name="headerEnd">The last four bytes of the header.</param>
    // Safety: the source is the caller's; SizeOf(length) bytes at the place are mapped writable while the caller's lease is held. The last load ends
    // where the packet ends and starts inside it, as it has at least sixteen bytes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Write(nint source, uint length, nint place, uint headerEnd)
    {
        byte* from = (byte*)source;
        Sse2.StoreAlignedNonTemporal((byte*)place, Vector128.Create(0UL, headerEnd | ((ulong)*(uint*)from << 32)).AsByte());
        WriteFrom(from, 4, length, (byte*)place + 16);
    }

    /// <summary>Whether a packet is of a size that is better streamed, behind a header of any length that is written with ordinary stores.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool FitsAlone(uint length) => length - Shortest <= Longest - Shortest;

    /// <summary>Bytes that are written for a packet alone.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static uint SizeAlone(uint length) => (length + Alignment - 1) & ~(Alignment - 1);

    /// <summary>Writes a packet.</summary>
    /// <param name="source">The packet.</param>
    /// <param name="length">Its bytes, for which <see cref="FitsAlone"/> is true.</param>
    /// <param name="place">Where to, a multiple of <see cref="Alignment"/>.</param>
    // Safety: as above, with SizeAlone(length) bytes.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void WriteAlone(nint source, uint length, nint place) => WriteFrom((byte*)source, 0, length, (byte*)place);

    // Safety: as its callers have it; each step was compared with what is left of the packet.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WriteFrom(byte* from, uint done, uint length, byte* to)
    {
        for (; done + 16 <= length; done += 16)
        {
            Sse2.StoreAlignedNonTemporal(to, Vector128.Load(from + done));
            to += 16;
        }

        uint rest = length - done;
        if (rest != 0)
        {
            Vector128<byte> mask = Vector128.LoadUnsafe(ref Unsafe.AsRef(in TailMasks[(int)(16 - rest)]));
            Sse2.StoreAlignedNonTemporal(to, Ssse3.Shuffle(Vector128.Load(from + length - 16), mask));
        }
    }

    /// <summary>Writes bytes to any place: streamed but for what is before the first and behind the last multiple of <see cref="Alignment"/>.</summary>
    /// <param name="source">The bytes.</param>
    /// <param name="place">Where to.</param>
    // Safety: as many bytes at the place are mapped writable while the caller's lease is held; each step was compared with what is left of the source.
    internal static void Copy(ReadOnlySpan<byte> source, nint place)
    {
        int before = (int)Math.Min((uint)source.Length, (uint)(-place & (nint)(Alignment - 1)));
        MappedBytes.CopyFrom(source[..before], place);
        int done = before;
        fixed (byte* from = source)
        {
            for (; done + 16 <= source.Length; done += 16)
                Sse2.StoreAlignedNonTemporal((byte*)place + done, Vector128.Load(from + done));
        }

        MappedBytes.CopyFrom(source[done..], place + done);
    }

    /// <summary>Asks for the first lines of a packet that will be read soon.</summary>
    // Safety: a hint; it touches nothing and faults on nothing.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Prefetch(nint at)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch0((void*)at);
            Sse.Prefetch0((byte*)at + 64);
        }
    }

    /// <summary>Asks for all lines of a range that will be read soon.</summary>
    // Safety: a hint; it touches nothing and faults on nothing.
    internal static void PrefetchAll(nint at, uint length)
    {
        if (Sse.IsSupported)
        {
            for (uint done = 0; done < length; done += PacketSlots.Line)
                Sse.Prefetch0((byte*)at + done);
        }
    }

    /// <summary>Asks for one line that will be read soon.</summary>
    // Safety: a hint; it touches nothing and faults on nothing.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void PrefetchLine(nint at)
    {
        if (Sse.IsSupported)
            Sse.Prefetch0((void*)at);
    }
}
