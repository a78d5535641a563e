using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// A claim on a <see cref="GuestMemory"/>: while it is held, every mapping of the table stays. Accesses copy; no reference into
/// shared memory is handed out, and what was read once is the reader's own.
/// </summary>
/// <remarks>Threading: reads and writes may come from any thread. Dispose exactly once; a copy of the struct is the same claim.</remarks>
public readonly struct GuestMemoryLease : IDisposable, IEquatable<GuestMemoryLease>
{
    internal GuestMemoryLease(GuestMemory memory) => Memory = memory;

    /// <summary>The table this lease keeps.</summary>
    public GuestMemory Memory { get; }

    /// <summary>Reads one value. It need not be aligned and may straddle adjacent regions; then it is not read atomically.</summary>
    /// <returns>False when a byte of the range is not mapped, or was still under way (postcopy) and cannot be had.</returns>
    public bool TryRead<T>(GuestAddress address, out T value)
        where T : unmanaged
    {
        Unsafe.SkipInit(out value);
        bool read = TryCopyTo(address, AsBytes(ref value));
        value = read ? value : default;
        return read;
    }

    /// <summary>Writes one value. It need not be aligned and may straddle adjacent regions; then it is not written atomically.</summary>
    /// <returns>False when a byte of the range is not mapped, and nothing was written, or when it was still under way (postcopy) and cannot be had.</returns>
    public bool TryWrite<T>(GuestAddress address, T value)
        where T : unmanaged => TryCopyFrom(AsBytes(ref value), address);

    /// <summary>Copies guest memory out.</summary>
    /// <returns>False when a byte of the range is not mapped, or was still under way (postcopy) and cannot be had; then the destination holds nothing of use.</returns>
    public bool TryCopyTo(GuestAddress source, Span<byte> destination)
    {
        if (!IsMapped(source, (ulong)destination.Length))
        {
            return false;
        }

        RegionWindow window = new(Memory, waits: true);
        ulong address = source.Value;
        while (!destination.IsEmpty && window.TryResolve(address, (uint)destination.Length, out nint mapped, out uint count))
        {
            MappedBytes.CopyTo(mapped, destination[..(int)count]);
            destination = destination[(int)count..];
            address += count;
        }

        return destination.IsEmpty;
    }

    /// <summary>Copies bytes into guest memory.</summary>
    /// <returns>False when a byte of the range is not mapped, and nothing was written, or when it was still under way (postcopy) and cannot be had.</returns>
    public bool TryCopyFrom(ReadOnlySpan<byte> source, GuestAddress destination)
    {
        if (!IsMapped(destination, (ulong)source.Length))
        {
            return false;
        }

        RegionWindow window = new(Memory, waits: true);
        ulong address = destination.Value;
        while (!source.IsEmpty && window.TryResolve(address, (uint)source.Length, out nint mapped, out uint count))
        {
            MappedBytes.CopyFrom(source[..(int)count], mapped);
            source = source[(int)count..];
            address += count;
        }

        return source.IsEmpty;
    }

    /// <summary>Whether every byte of the range is mapped, in one region or in several adjacent ones.</summary>
    public bool IsMapped(GuestAddress address, ulong length)
    {
        RegionMap map = Memory.ByGuest;
        ulong at = address.Value;
        while (length != 0)
        {
            if (!map.TryFind(at, 0, out int index, out ulong offset))
            {
                return false;
            }

            ulong here = map[index].Size - offset;
            if (length <= here)
            {
                return true;
            }

            length -= here;
            at += here;
            if (at == 0)
            {
                return false; // past 2^64
            }
        }

        return true;
    }

    /// <summary>Ends the claim.</summary>
    public void Dispose() => Memory?.Release();

    /// <inheritdoc/>
    public bool Equals(GuestMemoryLease other) => ReferenceEquals(Memory, other.Memory);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is GuestMemoryLease other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => Memory?.GetHashCode() ?? 0;

    /// <summary>Whether both are claims on the same table.</summary>
    public static bool operator ==(GuestMemoryLease left, GuestMemoryLease right) => left.Equals(right);

    /// <summary>Whether the two are claims on different tables.</summary>
    public static bool operator !=(GuestMemoryLease left, GuestMemoryLease right) => !left.Equals(right);

    private static Span<byte> AsBytes<T>(ref T value)
        where T : unmanaged => System.Runtime.InteropServices.MemoryMarshal.AsBytes(new Span<T>(ref value));
}
