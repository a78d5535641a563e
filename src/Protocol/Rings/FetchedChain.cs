using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>One chain of a batch.</summary>
/// <param name="Id">Its name in the ring: index of the first descriptor (split), buffer id (packed).</param>
/// <param name="Descriptors">Ring entries it takes.</param>
/// <param name="First">Its first segment.</param>
/// <param name="ReadableEnd">One behind its last readable segment.</param>
/// <param name="End">One behind its last segment.</param>
/// <param name="ReadableLength">Bytes the device may read.</param>
/// <param name="WritableLength">Bytes the device may write.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct FetchedChain(
    ushort Id, ushort Descriptors, int First, int ReadableEnd, int End, uint ReadableLength, uint WritableLength);
