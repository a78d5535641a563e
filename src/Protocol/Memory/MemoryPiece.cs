using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>A part of one region of guest memory; valid while somebody holds a table that has the region.</summary>
/// <param name="Region">The region.</param>
/// <param name="Offset">Where it begins in the region.</param>
/// <param name="Length">Bytes, at least 1.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct MemoryPiece(GuestMemoryRegion Region, ulong Offset, ulong Length)
{
    /// <summary>Where the first byte is mapped in this process.</summary>
    internal nint Address => Region.Memory.Address + (nint)Offset;

    /// <summary>Where the first byte lies for the guest.</summary>
    internal GuestAddress GuestAddress => new(Region.GuestAddress.Value + Offset);

    /// <summary>Where the first byte lies in the file of the region.</summary>
    internal ulong FileOffset => checked(Region.Memory.DescriptorOffset + Offset);

    /// <summary>Whether another piece goes on where this one ends.</summary>
    internal bool GoesOnWith(in MemoryPiece next) => ReferenceEquals(Region, next.Region) && Offset + Length == next.Offset;
}
