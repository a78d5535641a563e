using System.Buffers.Binary;

namespace Vhost.Protocol;

/// <summary>The part of <c>struct statx</c> that is used here; unlike <c>struct stat</c> it has one layout on all architectures.</summary>
internal readonly record struct FileStatus(int Mode, ulong Size, ulong Inode, ulong Device)
{
    internal const int EncodedSize = 256;

    internal int Type => Mode & Libc.S_IFMT;

    /// <summary>Whether both describe the same file (not two files that had the same name).</summary>
    internal bool IsSameFile(in FileStatus other) => Inode == other.Inode && Device == other.Device;

    internal static FileStatus Read(ReadOnlySpan<byte> statx) => new(
        BinaryPrimitives.ReadUInt16LittleEndian(statx[28..]),
        BinaryPrimitives.ReadUInt64LittleEndian(statx[40..]),
        BinaryPrimitives.ReadUInt64LittleEndian(statx[32..]),
        BinaryPrimitives.ReadUInt64LittleEndian(statx[136..]));
}
