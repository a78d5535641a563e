using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>One indirect table for every entry of a ring, behind the ring in guest memory.</summary>
internal sealed class IndirectTables
{
    private readonly DescriptorArray _tables;
    private readonly GuestAddress _start;

    internal IndirectTables(GuestMemoryLease lease, GuestAddress start, DriverVirtqueueOptions options)
    {
        BuffersPerRequest = options.IndirectBuffers;
        _start = start;
        bool mapped = lease.Memory.TryGetAddress(_start, SizeInBytes(options), out nint address);
        _tables = mapped ? new DescriptorArray(address) : throw new ArgumentException("The indirect tables are not inside one memory region.", nameof(start));
    }

    internal int BuffersPerRequest { get; }

    internal static ulong SizeInBytes(DriverVirtqueueOptions options) =>
        (ulong)options.Size * (ulong)options.IndirectBuffers * VirtqueueDescriptor.EncodedSize;

    /// <summary>Writes the table that belongs to an entry of a split ring: linked by NEXT. Returns where it lies.</summary>
    internal GuestBuffer WriteLinked(ushort entry, ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        nuint first = First(entry);
        int count = readable.Length + writable.Length;
        for (int i = 0; i < count; i++)
        {
            bool write = i >= readable.Length;
            GuestBuffer buffer = write ? writable[i - readable.Length] : readable[i];
            bool more = i + 1 < count;
            DescriptorFlags flags = (write ? DescriptorFlags.Write : 0) | (more ? DescriptorFlags.Next : 0);
            _tables.Write(first + (nuint)i, new VirtqueueDescriptor(buffer.Address.Value, buffer.Length, flags, (ushort)(more ? i + 1 : 0)));
        }

        return Where(first, count);
    }

    /// <summary>Writes the table that belongs to a buffer id of a packed ring: read from front to back. Returns where it lies.</summary>
    internal GuestBuffer WriteSequential(ushort id, ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        nuint first = First(id);
        int count = readable.Length + writable.Length;
        for (int i = 0; i < count; i++)
        {
            bool write = i >= readable.Length;
            GuestBuffer buffer = write ? writable[i - readable.Length] : readable[i];
            _tables.Write(first + (nuint)i, new PackedDescriptor(buffer.Address.Value, buffer.Length, 0, write ? (ushort)DescriptorFlags.Write : (ushort)0));
        }

        return Where(first, count);
    }

    private nuint First(ushort entry) => (nuint)entry * (nuint)BuffersPerRequest;

    private GuestBuffer Where(nuint first, int count) =>
        new(new GuestAddress(_start.Value + (first * VirtqueueDescriptor.EncodedSize)), (uint)(count * VirtqueueDescriptor.EncodedSize));
}
