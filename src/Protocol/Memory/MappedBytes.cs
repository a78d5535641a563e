using System.Runtime.CompilerServices;

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
}
