using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>One indirect table for every entry of a ring, behind the ring in guest memory.</summary>
internal sealed class IndirectTables
{
    private readonly DescriptorArray _tables;
    private readonly GuestAddress _start;

    internal IndirectTables(GuestMemoryLease lease, GuestAddress ring, DriverVirtqueueOptions options)
    {
        BuffersPerRequest = options.IndirectBuffers;
        _start = new GuestAddress(ring.Value + SplitRingLayout.Contiguous(options.Size).Total);
        bool mapped = lease.Memory.TryGetAddress(_start, SizeInBytes(options), out nint address);
        _tables = mapped ? new DescriptorArray(address) : throw new ArgumentException("The indirect tables are not inside one memory region.", nameof(ring));
    }

    internal int BuffersPerRequest { get; }

    internal static ulong SizeInBytes(DriverVirtqueueOptions options) =>
        (ulong)options.Size * (ulong)options.IndirectBuffers * VirtqueueDescriptor.EncodedSize;

    /// <summary>Writes the table that belongs to an entry of the ring, and returns where it lies.</summary>
    internal GuestBuffer Write(ushort entry, ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        nuint first = (nuint)entry * (nuint)BuffersPerRequest;
        int count = readable.Length + writable.Length;
        for (int i = 0; i < count; i++)
        {
            bool write = i >= readable.Length;
            GuestBuffer buffer = write ? writable[i - readable.Length] : readable[i];
            bool more = i + 1 < count;
            DescriptorFlags flags = (write ? DescriptorFlags.Write : 0) | (more ? DescriptorFlags.Next : 0);
            _tables.Write(first + (nuint)i, new VirtqueueDescriptor(buffer.Address.Value, buffer.Length, flags, (ushort)(more ? i + 1 : 0)));
        }

        return new GuestBuffer(new GuestAddress(_start.Value + (first * VirtqueueDescriptor.EncodedSize)), (uint)(count * VirtqueueDescriptor.EncodedSize));
    }
}
