using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Where the parts of a driver's ring lie in guest memory, one behind the other, and behind them its indirect tables.</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly struct DriverRingPlace
{
    internal const ulong Alignment = 64;

    /// <summary>Bytes in front of the available index that <see cref="DriverVirtqueueOptions.SharesLines"/> leaves to the owner of the ring.</summary>
    internal const uint AvailableLead = 48;

    /// <summary>Bytes in front of the used index; with so many its elements do not lie across lines.</summary>
    internal const uint UsedLead = 12;

    private readonly GuestAddress _start;
    private readonly ushort _entries;
    private readonly ulong _driverPart;
    private readonly ulong _devicePart;

    internal DriverRingPlace(GuestAddress start, DriverVirtqueueOptions options, VirtioFeatures features)
    {
        bool packed = (features & VirtioFeatures.RingPacked) != 0;
        _start = start;
        _entries = options.Size;
        HasLeads = options.SharesLines && !packed;
        (_driverPart, _devicePart, Size) =
            packed ? PackedRingLayout.Contiguous(_entries)
            : HasLeads ? SplitRingLayout.Contiguous(_entries, AvailableLead, UsedLead)
            : SplitRingLayout.Contiguous(_entries);
    }

    /// <summary>Whether there is room in the lines of both indices.</summary>
    internal bool HasLeads { get; }

    /// <summary>Bytes of the ring without indirect tables.</summary>
    internal ulong Size { get; }

    internal GuestAddress Descriptors => _start;

    internal GuestAddress DriverPart => new(_start.Value + _driverPart);

    internal GuestAddress DevicePart => new(_start.Value + _devicePart);

    internal GuestAddress IndirectTables => new(_start.Value + Size);

    internal SplitRing MapSplit(GuestMemory memory) =>
        SplitRing.TryMap(Address(memory), Address(memory) + (nint)_driverPart, Address(memory) + (nint)_devicePart, _entries, out SplitRing ring)
            ? ring
            : throw Misaligned();

    internal PackedRing MapPacked(GuestMemory memory) =>
        PackedRing.TryMap(Address(memory), Address(memory) + (nint)_driverPart, Address(memory) + (nint)_devicePart, _entries, out PackedRing ring)
            ? ring
            : throw Misaligned();

    private static ArgumentException Misaligned() => new("The memory region is not mapped at an address that is a multiple of 16.");

    private nint Address(GuestMemory memory) => memory.TryGetAddress(_start, Size, out nint address) ? address : 0;
}
