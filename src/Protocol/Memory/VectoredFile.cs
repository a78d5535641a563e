using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>Moves bytes between a file and guest memory in one system call per 64 pieces.</summary>
internal static unsafe class VectoredFile
{
    private const int VectorsPerCall = 64;

    /// <summary>Transfers all of <paramref name="buffers"/>; stops early only at the end of a file that is read.</summary>
    internal static ulong Transfer(GuestBuffers buffers, SafeHandle file, ulong fileOffset, bool write)
    {
        ulong done = 0;
        while (buffers.Length > 0)
        {
            ulong moved = TransferSome(buffers, file, checked((long)(fileOffset + done)), write, out ulong asked);
            if (moved == 0 && write)
            {
                throw new LinuxException("pwritev: nothing written", Libc.EIO);
            }

            bool end = !write && IsEnd(file, fileOffset + done, moved, asked);
            done += moved;
            buffers = buffers.Slice((uint)moved); // from where the last call has ended: pieces are passed over once, however many there are
            if (end)
            {
                break;
            }
        }

        return done;
    }

    /// <summary>Transfers the front of <paramref name="buffers"/> as far as that needs no waiting.</summary>
    /// <returns>Bytes, or the negative error number; <c>EAGAIN</c> too for more pieces than fit one call.</returns>
    // Safety: as for the transfer that may wait.
    [SkipLocalsInit]
    internal static int TransferNow(GuestBuffers buffers, SafeHandle file, ulong fileOffset, bool write)
    {
        IoVector* vectors = stackalloc IoVector[VectorsPerCall];
        int count = 0;
        for (GuestBuffers.Cursor cursor = buffers.GetCursor(); cursor.MoveNext(); count++)
        {
            if (count == VectorsPerCall)
            {
                return -Libc.EAGAIN;
            }

            vectors[count] = new IoVector { Base = (void*)cursor.Address, Length = cursor.Count };
        }

        nint moved = write
            ? Libc.pwritev2(file, vectors, count, (long)fileOffset, Libc.RWF_NOWAIT)
            : Libc.preadv2(file, vectors, count, (long)fileOffset, Libc.RWF_NOWAIT);
        return moved >= 0 ? (int)moved : -Marshal.GetLastPInvokeError();
    }

    /// <summary>
    /// Whether reading has met the end of the file: nothing came, or less than was asked for, no whole sectors, and there is no more. There it must not be read on
    /// from, since files that are read directly refuse such an offset. Anywhere else a short read is only a short read.
    /// </summary>
    internal static bool IsEnd(SafeHandle file, ulong fileOffset, ulong read, ulong asked) =>
        read == 0 || (read < asked && read % 512 != 0 && fileOffset + read >= (ulong)Math.Max(Libc.Length(file), 0));

    // Safety: the vectors name ranges that were validated against the table whose lease the chain holds; should a range be gone all the same,
    // the kernel answers EFAULT instead of ending the process.
    [SkipLocalsInit]
    private static ulong TransferSome(GuestBuffers buffers, SafeHandle file, long offset, bool write, out ulong asked)
    {
        IoVector* vectors = stackalloc IoVector[VectorsPerCall];
        int count = 0;
        asked = 0;
        for (GuestBuffers.Cursor cursor = buffers.GetCursor(); count < VectorsPerCall && cursor.MoveNext(); count++)
        {
            asked += cursor.Count;
            vectors[count] = new IoVector { Base = (void*)cursor.Address, Length = cursor.Count };
        }

        while (true)
        {
            nint moved = write ? Libc.pwritev(file, vectors, count, offset) : Libc.preadv(file, vectors, count, offset);
            int error = Marshal.GetLastPInvokeError();
            if (moved >= 0)
            {
                return (ulong)moved;
            }

            if (error != Libc.EINTR)
            {
                throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"{(write ? "pwritev" : "preadv")} at offset {offset}"), error);
            }
        }
    }
}
