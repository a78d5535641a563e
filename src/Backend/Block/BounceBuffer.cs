using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Memory of our own that suits direct transfers of any file, for a driver's buffers that do not.</summary>
internal sealed class BounceBuffer
{
    internal const int Size = 256 << 10;

    // No file asks for more than the largest logical block.
    private const int Alignment = 32 << 10;

    [ThreadStatic]
    private static BounceBuffer? _ofThisThread;

    private readonly byte[] _pinned = GC.AllocateUninitializedArray<byte>(Size + Alignment, pinned: true);
    private readonly BufferSegment[] _segment;
    private readonly int _start;

    internal BounceBuffer()
    {
        nint address = Marshal.UnsafeAddrOfPinnedArrayElement(_pinned, 0);
        _start = (Alignment - (int)(address & (Alignment - 1))) & (Alignment - 1);
        _segment = [new BufferSegment(address + _start, Size)];
    }

    /// <summary>One for each thread, used within one call.</summary>
    internal static Span<byte> OfThisThread => (_ofThisThread ??= new BounceBuffer()).Bytes;

    internal Span<byte> Bytes => _pinned.AsSpan(_start, Size);

    /// <summary>The front of it, for the kernel.</summary>
    internal GuestBuffers Front(uint length) => new(_segment, length);
}
