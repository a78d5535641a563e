using System.Globalization;

namespace Vhost.Protocol;

/// <summary>
/// One translation of an IOMMU: a range of I/O virtual addresses, where it is mapped in this process, and what may be done there. Immutable but for whether it is final, and who
/// uses it: its maker, and each table that contains it (<see cref="GuestMemory"/>). The mapping stays as long as anybody does.
/// </summary>
/// <remarks>Threading: all members may be used from any thread; <see cref="Hold"/> only by somebody who knows of another user.</remarks>
internal sealed class Translation
{
    private readonly MappingHandle _mapping;
    private readonly TaskCompletionSource _unused = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _users = 1;
    private volatile bool _isFinal;

    /// <summary>Translates to a part of a region that somebody holds. The caller has checked that the range does not wrap and that the part lies inside the region.</summary>
    /// <param name="start">First I/O virtual address.</param>
    /// <param name="region">Where it leads.</param>
    /// <param name="offset">First byte of the part.</param>
    /// <param name="size">Bytes, at least 1.</param>
    /// <param name="permission">What may be done.</param>
    internal Translation(ulong start, GuestMemoryRegion region, ulong offset, ulong size, VhostUserIotlbPermission permission)
    {
        ArgumentOutOfRangeException.ThrowIfZero(size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size, region.Size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, region.Size - size);
        Start = start;
        Last = checked(start + (size - 1));
        Region = region;
        Address = region.Memory.Address + (nint)offset;
        Permission = permission;
        _mapping = region.Memory.Mapping;
        bool held = false;
        _mapping.DangerousAddRef(ref held);
    }

    /// <summary>First I/O virtual address.</summary>
    internal ulong Start { get; }

    /// <summary>Last I/O virtual address.</summary>
    internal ulong Last { get; }

    /// <summary>Where the first byte is mapped.</summary>
    internal nint Address { get; }

    /// <summary>What may be done.</summary>
    internal VhostUserIotlbPermission Permission { get; }

    /// <summary>The front-end was asked for more than that and allows no more: there is nothing to wait for.</summary>
    internal bool IsFinal => _isFinal;

    /// <summary>The region of guest memory behind it.</summary>
    internal GuestMemoryRegion Region { get; }

    /// <summary>Completes when nobody uses the translation any more.</summary>
    internal Task Unused => _unused.Task;

    /// <summary>Whether it is said again, and so changes nothing.</summary>
    internal bool IsSame(Translation other) =>
        Start == other.Start && Last == other.Last && Address == other.Address && Permission == other.Permission && ReferenceEquals(Region, other.Region);

    /// <summary>Where a range of its I/O virtual addresses lies.</summary>
    internal MemoryPiece PieceOf(ulong address, ulong length) => new(Region, (ulong)(Address - Region.Memory.Address) + (address - Start), length);

    internal bool Overlaps(ulong first, ulong last) => Start <= last && first <= Last;

    internal bool Allows(VhostUserIotlbPermission needed) => (Permission & needed) == needed;

    /// <summary>See <see cref="IsFinal"/>.</summary>
    internal void Settle() => _isFinal = true;

    internal void Hold() => Interlocked.Increment(ref _users);

    internal void Release()
    {
        if (Interlocked.Decrement(ref _users) == 0)
        {
            _mapping.DangerousRelease();
            _unused.TrySetResult();
        }
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"0x{Start:x} to 0x{Last:x}, permission {(byte)Permission}");
}
