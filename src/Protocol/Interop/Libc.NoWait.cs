using System.Runtime.InteropServices;

namespace Vhost.Protocol;

// Reads and writes that cannot wait on a description that somebody else has too, and whose O_NONBLOCK he may clear.
internal static partial class Libc
{
    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial nint recv(SafeHandle socket, void* buffer, nuint length, int flags);

    /// <summary>Reads what is there and never waits, whatever the flags of the description.</summary>
    /// <returns>Bytes read, or the negative error number: <c>EAGAIN</c> when there is nothing, <c>EOPNOTSUPP</c> when this file cannot promise it.</returns>
    // Safety: the buffer is fixed for the call and its length is passed.
    internal static unsafe int ReadNoWait(SafeHandle descriptor, Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            IoVector vector = new() { Base = start, Length = (nuint)buffer.Length };
            nint result = preadv2(descriptor, &vector, 1, -1, RWF_NOWAIT);
            return result >= 0 ? (int)result : -Marshal.GetLastPInvokeError();
        }
    }

    /// <summary>Writes what there is room for and never waits, whatever the flags of the description.</summary>
    /// <returns>Bytes written, or the negative error number: <c>EAGAIN</c> when there is no room, <c>EOPNOTSUPP</c> when this file cannot promise it.</returns>
    // Safety: the buffer is fixed for the call and its length is passed; the kernel only reads it.
    internal static unsafe int WriteNoWait(SafeHandle descriptor, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            IoVector vector = new() { Base = start, Length = (nuint)bytes.Length };
            nint result = pwritev2(descriptor, &vector, 1, -1, RWF_NOWAIT);
            return result >= 0 ? (int)result : -Marshal.GetLastPInvokeError();
        }
    }

    /// <summary>Takes bytes that are there and never waits, whatever the flags of the description. Descriptors that come along are closed by the kernel.</summary>
    /// <returns>Bytes received, 0 at the end of the stream, or the negative error number.</returns>
    // Safety: the buffer is fixed for the call and its length is passed.
    internal static unsafe int ReceiveNoWait(SafeHandle socket, Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            nint received = recv(socket, start, (nuint)buffer.Length, MSG_DONTWAIT);
            return received >= 0 ? (int)received : -Marshal.GetLastPInvokeError();
        }
    }
}
