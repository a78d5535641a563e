using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>A chain of one buffer that lies in one region: what nearly every packet is. Validated like any other; the mapping is good while the ring's lease is held.</summary>
/// <param name="Address">Where the buffer is mapped.</param>
/// <param name="Length">Its bytes, at least one.</param>
/// <param name="Id">The chain's name in the ring: index of the descriptor (split), buffer id (packed).</param>
/// <param name="GuestAddress">Where the buffer lies for the driver, as its descriptor says.</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct LinearChain(nint Address, uint Length, ushort Id, ulong GuestAddress);
