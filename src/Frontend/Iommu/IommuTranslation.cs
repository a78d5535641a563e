using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Where a range of I/O virtual addresses leads.</summary>
/// <param name="Address">First I/O virtual address of the range.</param>
/// <param name="GuestAddress">Where its first byte lies in guest memory.</param>
/// <param name="Size">Bytes, at least 1; neither end of the two ranges passes 2^64.</param>
/// <param name="Permission">What the device may do there.</param>
[StructLayout(LayoutKind.Auto)]
public readonly record struct IommuTranslation(IoVirtualAddress Address, GuestAddress GuestAddress, ulong Size, VhostUserIotlbPermission Permission);
