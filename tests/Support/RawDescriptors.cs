using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Tests.Support;

/// <summary>Descriptors of all kinds, and what a hostile owner of the same open file does with them.</summary>
public static class RawDescriptors
{
    /// <summary>An eventfd whose every read and write may block.</summary>
    public static SafeFileHandle BlockingEventFd()
    {
        SafeFileHandle handle = new(eventfd(0, Libc.EFD_CLOEXEC), ownsHandle: true);
        return handle.IsInvalid ? throw new InvalidOperationException("eventfd failed") : handle;
    }

    /// <summary>An eventfd that can be read 2^64 - 2 times before it is empty: each read takes one.</summary>
    public static SafeFileHandle EndlessEventFd()
    {
        const int Semaphore = 1;
        SafeFileHandle handle = new(eventfd(0, Semaphore | Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), ownsHandle: true);
        FillCounter(handle);
        return handle;
    }

    /// <summary>Sets or clears O_NONBLOCK for everybody who has the same open file.</summary>
    public static void SetNonBlocking(SafeFileHandle descriptor, bool nonBlocking)
    {
        if (fcntl(descriptor, Libc.F_SETFL, nonBlocking ? Libc.O_NONBLOCK : 0) != 0) throw new InvalidOperationException("F_SETFL failed");
    }

    /// <summary>A blocking pipe.</summary>
    public static (SafeFileHandle Reader, SafeFileHandle Writer) Pipe()
    {
        int[] pair = new int[2];
        if (pipe2(pair, Libc.EFD_CLOEXEC) != 0) throw new InvalidOperationException("pipe2 failed");
        return (new(pair[0], ownsHandle: true), new(pair[1], ownsHandle: true));
    }

    /// <summary>A pipe that has a name, for its owner alone.</summary>
    public static void MakeNamedPipe(string path)
    {
        if (mkfifo(path, 0x180) != 0) throw new InvalidOperationException("mkfifo failed");
    }

    /// <summary>Brings the counter to its maximum: the next write would wait or fail.</summary>
    public static void FillCounter(SafeFileHandle eventFd)
    {
        byte[] value = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(value, ulong.MaxValue - 1);
        if (Libc.Write(eventFd, value) != value.Length) throw new InvalidOperationException("the counter was not zero");
    }

    /// <summary>Brings a counter to its maximum, whatever it is now. The descriptor must not block.</summary>
    public static void FillUp(SafeFileHandle eventFd)
    {
        Span<byte> value = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(value, 1);
        if (Libc.Write(eventFd, value) < 0) return;
        for (int bit = 63; bit >= 0; bit--)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(value, 1UL << bit);
            _ = Libc.Write(eventFd, value);
        }
    }

    /// <summary>A listening socket as a parent process would hand it over: blocking.</summary>
    public static SafeFileHandle BlockingListener(string path)
    {
        SafeFileHandle handle = new(socket(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC, 0), ownsHandle: true);
        if (Libc.Bind(handle, UnixSocketAddress.Encode(path, nameof(path))) != 0 || Libc.Listen(handle, 8) != 0)
            throw new InvalidOperationException($"cannot listen on {path}");
        return handle;
    }

    /// <summary>Leaves a socket room for as little unread as the kernel allows: a few short messages.</summary>
    public static void NarrowSendBuffer(SafeFileHandle socket)
    {
        const int SocketLevel = 1;
        const int SendBuffer = 7;
        int bytes = 1;
        if (setsockopt(socket, SocketLevel, SendBuffer, ref bytes, sizeof(int)) != 0) throw new InvalidOperationException("SO_SNDBUF failed");
    }

    /// <summary>A socket that keeps message boundaries, bound to a path.</summary>
    public static SafeFileHandle DatagramSocket(string path)
    {
        const int Datagram = 2;
        SafeFileHandle handle = new(socket(Libc.AF_UNIX, Datagram | Libc.SOCK_CLOEXEC, 0), ownsHandle: true);
        return Libc.Bind(handle, UnixSocketAddress.Encode(path, nameof(path))) == 0 ? handle : throw new InvalidOperationException($"cannot bind {path}");
    }

    /// <summary>A descriptor of anything that has a path, folders included; only for reading, or not even that.</summary>
    public static SafeFileHandle OpenPath(string path, bool pathOnly = false)
    {
        SafeFileHandle handle = new(open(path, Libc.EFD_CLOEXEC | (pathOnly ? Libc.O_PATH : 0), 0), ownsHandle: true);
        return handle.IsInvalid ? throw new InvalidOperationException($"cannot open {path}") : handle;
    }

    /// <summary>Puts another open file in the place of a number; whoever has that number uses it from now on.</summary>
    public static void Replace(int descriptor, string path)
    {
        using SafeFileHandle other = OpenPath(path);
        if (dup3(other, descriptor, Libc.EFD_CLOEXEC) != descriptor) throw new InvalidOperationException("dup3 failed");
    }

    /// <summary>The same open file by another descriptor, with other rights.</summary>
    public static SafeFileHandle Reopen(SafeFileHandle descriptor, bool pathOnly) =>
        OpenPath($"/proc/self/fd/{(int)descriptor.DangerousGetHandle()}", pathOnly);

    /// <summary>A memfd of some length; null where the kernel does not make one with these flags.</summary>
    public static SafeFileHandle? MemoryFile(long length, uint flags = 0)
    {
        SafeFileHandle handle = Libc.memfd_create("test", flags);
        if (!handle.IsInvalid && ftruncate(handle, length) == 0) return handle;
        handle.Dispose();
        return null;
    }

    [DllImport("libc", SetLastError = true, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    private static extern int mkfifo([MarshalAs(UnmanagedType.LPUTF8Str)] string path, uint mode);

    [DllImport("libc", SetLastError = true)]
    private static extern int ftruncate(SafeFileHandle descriptor, long length);

    [DllImport("libc", SetLastError = true, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    private static extern int open([MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags, int mode);

    [DllImport("libc", SetLastError = true)]
    private static extern int socket(int domain, int type, int protocol);

    [DllImport("libc", SetLastError = true)]
    private static extern int setsockopt(SafeFileHandle socket, int level, int option, ref int value, uint length);

    [DllImport("libc", SetLastError = true)]
    private static extern int dup3(SafeFileHandle descriptor, int place, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int eventfd(uint initial, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int fcntl(SafeFileHandle descriptor, int command, nint argument);

    [DllImport("libc", SetLastError = true)]
    private static extern int pipe2([Out] int[] pair, int flags);
}
