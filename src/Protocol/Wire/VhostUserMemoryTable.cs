using System.Globalization;

namespace Vhost.Protocol;

/// <summary>
/// A view of a SET_MEM_TABLE payload (vhost-user "Multiple memory regions description"): count at 0, padding at 4, regions from 8.
/// The view reads the payload it was made from; nothing is copied.
/// </summary>
public readonly ref struct VhostUserMemoryTable
{
    /// <summary>The most regions one message may carry.</summary>
    public const int MaxRegions = 8;

    /// <summary>Bytes before the first region.</summary>
    public const int HeaderSize = 8;

    private readonly ReadOnlySpan<byte> _payload;
    private readonly bool _xen;

    private VhostUserMemoryTable(ReadOnlySpan<byte> payload, bool xen, int count)
    {
        _payload = payload;
        _xen = xen;
        Count = count;
    }

    /// <summary>Number of regions, 0 to <see cref="MaxRegions"/>.</summary>
    public int Count { get; }

    private int Stride => _xen ? VhostUserXenRegion.Size : VhostUserMemoryRegion.WireSize;

    /// <summary>The region at <paramref name="index"/>, in the order of the message's descriptors.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such region.</exception>
    public VhostUserMemoryRegion this[int index] => VhostUserMemoryRegion.Read(Slice(index));

    /// <summary>Bytes of a table of <paramref name="count"/> regions.</summary>
    /// <param name="count">Regions, 0 to <see cref="MaxRegions"/>.</param>
    /// <param name="xen">Regions carry the fields of XEN_MMAP.</param>
    public static int EncodedSizeOf(int count, bool xen = false)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, MaxRegions);
        return HeaderSize + count * (xen ? VhostUserXenRegion.Size : VhostUserMemoryRegion.WireSize);
    }

    /// <summary>Reads the count of a table that may be malformed, to say what is wrong with it.</summary>
    /// <returns>False when the payload is too short for a count.</returns>
    public static bool TryReadCount(ReadOnlySpan<byte> payload, out uint count)
    {
        bool fits = payload.Length >= HeaderSize;
        count = fits ? HostOrder.U32(payload, 0) : 0;
        return fits;
    }

    /// <summary>Views a payload as a table.</summary>
    /// <param name="payload">The whole payload.</param>
    /// <param name="table">The view; empty when the method returns false.</param>
    /// <param name="xen">Regions carry the fields of XEN_MMAP.</param>
    /// <returns>False when the count exceeds <see cref="MaxRegions"/> or the size is not exactly that of the count.</returns>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserMemoryTable table, bool xen = false)
    {
        table = default;
        if (!TryReadCount(payload, out uint count) || count > MaxRegions || payload.Length != EncodedSizeOf((int)count, xen))
            return false;
        table = new(payload, xen, (int)count);
        return true;
    }

    /// <summary>Writes a table of regions.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">Too many regions, or the destination is too small.</exception>
    public static int Write(ReadOnlySpan<VhostUserMemoryRegion> regions, Span<byte> destination)
    {
        int size = EncodedSizeOf(regions.Length);
        destination = PayloadSizes.Exactly(destination, size);
        HostOrder.Put(destination, 0, (uint)regions.Length);
        for (int i = 0; i < regions.Length; i++)
            regions[i].Write(destination[(HeaderSize + i * VhostUserMemoryRegion.WireSize)..]);
        return size;
    }

    /// <summary>Writes a table of regions with their Xen fields.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">Too many regions, or the destination is too small.</exception>
    public static int Write(ReadOnlySpan<VhostUserXenRegion> regions, Span<byte> destination)
    {
        int size = EncodedSizeOf(regions.Length, xen: true);
        destination = PayloadSizes.Exactly(destination, size);
        HostOrder.Put(destination, 0, (uint)regions.Length);
        for (int i = 0; i < regions.Length; i++)
            regions[i].Write(destination[(HeaderSize + i * VhostUserXenRegion.Size)..]);
        return size;
    }

    /// <summary>The region at <paramref name="index"/> with its Xen fields.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such region.</exception>
    /// <exception cref="InvalidOperationException">The table was read without them.</exception>
    public VhostUserXenRegion GetXenRegion(int index) => _xen
        ? VhostUserXenRegion.Read(Slice(index))
        : throw new InvalidOperationException("The table was read without the fields of XEN_MMAP.");

    private ReadOnlySpan<byte> Slice(int index)
    {
        if ((uint)index >= (uint)Count)
            throw new ArgumentOutOfRangeException(nameof(index), index, string.Create(CultureInfo.InvariantCulture, $"The table has {Count} regions."));
        return _payload.Slice(HeaderSize + index * Stride, Stride);
    }
}
