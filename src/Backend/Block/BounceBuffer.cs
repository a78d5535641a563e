using System.Runtime.InteropServices;

namespace Vhost.Backend;

/// <summary>Memory of our own that suits direct transfers of any file, for a driver's buffers that do not. One for each thread, used within one call.</summary>
internal static class BounceBuffer
{
    internal const int Size = 256 << 10;

    // No file asks for more than the largest logical block.
    private const int Alignment = 32 << 10;

    [ThreadStatic]
    private static byte[]? _pinned;

    internal static Span<byte> OfThisThread
    {
        get
        {
            byte[] memory = _pinned ??= GC.AllocateUninitializedArray<byte>(Size + Alignment, pinned: true);
            int beyond = (int)(Marshal.UnsafeAddrOfPinnedArrayElement(memory, 0) & (Alignment - 1));
            return memory.AsSpan((Alignment - beyond) & (Alignment - 1), Size);
        }
    }
}
