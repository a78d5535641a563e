using System.Globalization;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>Moves bytes between a file and guest memory in one system call per 64 pieces.</summary>
internal static unsafe class VectoredFile
{
    private const int VectorsPerCall = 64;
    private const int EINTR = 4;

    /// <summary>Transfers all of <paramref name="buffers"/>; stops early only at the end of a file that is read.</summary>
    internal static ulong Transfer(GuestBuffers buffers, SafeHandle file, ulong fileOffset, bool write)
    {
        ulong done = 0;
        while (done < buffers.Length)
        {
            ulong moved = TransferSome(buffers.Slice((uint)done), file, checked((long)(fileOffset + done)), write);
            if (moved == 0)
            {
                return write ? throw new LinuxException("pwritev: nothing written", 5) : done;
            }

            done += moved;
        }

        return done;
    }

    // Safety: the vectors name ranges that were validated against the table whose lease the chain holds; should a range be gone all the same,
    // the kernel answers EFAULT instead of ending the process.
    private static ulong TransferSome(GuestBuffers buffers, SafeHandle file, long offset, bool write)
    {
        IoVector* vectors = stackalloc IoVector[VectorsPerCall];
        int count = 0;
        for (GuestBuffers.Cursor cursor = buffers.GetCursor(); count < VectorsPerCall && cursor.MoveNext(); count++)
        {
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

            if (error != EINTR)
            {
                throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"{(write ? "pwritev" : "preadv")} at offset {offset}"), error);
            }
        }
    }
}
