using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>Reads and writes numbers in the byte order of the host, at any alignment.</summary>
internal static class HostOrder
{
    public static ushort U16(ReadOnlySpan<byte> source, int offset) => MemoryMarshal.Read<ushort>(source[offset..]);

    public static uint U32(ReadOnlySpan<byte> source, int offset) => MemoryMarshal.Read<uint>(source[offset..]);

    public static ulong U64(ReadOnlySpan<byte> source, int offset) => MemoryMarshal.Read<ulong>(source[offset..]);

    public static void Put(Span<byte> destination, int offset, ushort value) => MemoryMarshal.Write(destination[offset..], in value);

    public static void Put(Span<byte> destination, int offset, uint value) => MemoryMarshal.Write(destination[offset..], in value);

    public static void Put(Span<byte> destination, int offset, ulong value) => MemoryMarshal.Write(destination[offset..], in value);
}
