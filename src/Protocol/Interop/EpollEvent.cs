using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary><c>struct epoll_event</c>: packed to 12 bytes on x64, naturally aligned to 16 elsewhere.</summary>
internal readonly record struct EpollEvent(uint Events, ulong Data)
{
    internal const int LargestSize = 16;

    internal static int Size { get; } = SizeOn(RuntimeInformation.ProcessArchitecture);

    internal static int DataOffset { get; } = Size - sizeof(ulong);

    internal static int SizeOn(Architecture architecture) => architecture == Architecture.X64 ? 12 : LargestSize;

    internal static EpollEvent Read(ReadOnlySpan<byte> buffer, int index)
    {
        ReadOnlySpan<byte> element = buffer.Slice(index * Size, Size);
        return new EpollEvent(BinaryPrimitives.ReadUInt32LittleEndian(element), BinaryPrimitives.ReadUInt64LittleEndian(element[DataOffset..]));
    }
}
