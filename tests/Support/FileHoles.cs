using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Tests.Support;

/// <summary>Which part of a file in memory has no page of its own.</summary>
public static class FileHoles
{
    private const int SeekData = 3;

    /// <summary>Whether a file has no page at all from an offset on.</summary>
    public static bool IsHoleFrom(SafeFileHandle file, long offset) => lseek(file, offset, SeekData) < 0;

    /// <summary>Whether a file has no page at an offset.</summary>
    public static bool IsHoleAt(SafeFileHandle file, long offset) => lseek(file, offset, SeekData) is var data && (data < 0 || data >= offset + 4096);

    /// <summary>Bytes of memory that a file takes, whatever its length.</summary>
    public static ulong BytesOf(SafeFileHandle file)
    {
        const int EmptyPath = 0x1000;
        const uint Blocks = 0x400;
        byte[] status = new byte[256];
        if (statx(file, [0], EmptyPath, Blocks, status) != 0)
            throw new InvalidOperationException("statx says nothing about the file");
        return 512 * BinaryPrimitives.ReadUInt64LittleEndian(status.AsSpan(48));
    }

    [DllImport("libc")]
    private static extern int statx(SafeHandle file, byte[] path, int flags, uint mask, byte[] status);

    [DllImport("libc")]
    private static extern long lseek(SafeHandle file, long offset, int whence);
}
