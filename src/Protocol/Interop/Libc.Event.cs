using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

internal static partial class Libc
{
    [LibraryImport("libc", SetLastError = true)]
    private static partial SafeFileHandle eventfd(uint initial, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial nint read(SafeHandle descriptor, void* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial nint write(SafeHandle descriptor, void* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    internal static unsafe partial nint preadv2(SafeHandle descriptor, IoVector* vectors, int count, long offset, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int poll(PollDescriptor* descriptors, nuint count, int timeoutMilliseconds);

    [LibraryImport("libc", SetLastError = true)]
    private static partial SafeFileHandle epoll_create1(int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int epoll_ctl(SafeHandle epoll, int operation, SafeHandle descriptor, byte* registration);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int epoll_wait(SafeHandle epoll, byte* events, int capacity, int timeoutMilliseconds);

    /// <summary>A new eventfd with counter 0: non-blocking, closed on exec.</summary>
    internal static SafeFileHandle EventFd()
    {
        SafeFileHandle handle = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        int errno = Marshal.GetLastPInvokeError();
        return handle.IsInvalid ? throw new LinuxException("eventfd", errno) : handle;
    }

    /// <returns>Bytes read, or the negative error number. May wait when the description is blocking.</returns>
    // Safety: the buffer is fixed for the call and its length is passed.
    internal static unsafe int Read(SafeHandle descriptor, Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            nint result = read(descriptor, start, (nuint)buffer.Length);
            return result >= 0 ? (int)result : -Marshal.GetLastPInvokeError();
        }
    }

    /// <returns>Bytes written, or the negative error number. May wait when the description is blocking.</returns>
    // Safety: the buffer is fixed for the call and its length is passed.
    internal static unsafe int Write(SafeHandle descriptor, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            nint result = write(descriptor, start, (nuint)bytes.Length);
            return result >= 0 ? (int)result : -Marshal.GetLastPInvokeError();
        }
    }

    /// <summary>What of <paramref name="events"/> holds for one descriptor now or within the time; 0 when the time passed.</summary>
    /// <returns>The events, or the negative error number.</returns>
    // Safety: one element in, one element out; the reference keeps the number from being closed and given to another file meanwhile.
    internal static unsafe int Poll(SafeHandle descriptor, short events, int timeoutMilliseconds)
    {
        bool held = false;
        try
        {
            descriptor.DangerousAddRef(ref held);
            PollDescriptor element = new() { Descriptor = (int)descriptor.DangerousGetHandle(), Events = events };
            int result = poll(&element, 1, timeoutMilliseconds);
            return result >= 0 ? (ushort)element.Returned : -Marshal.GetLastPInvokeError();
        }
        finally
        {
            if (held) descriptor.DangerousRelease();
        }
    }

    /// <returns>Elements with events, or the negative error number. The caller holds the descriptors.</returns>
    // Safety: the span is fixed for the call and its length is passed.
    internal static unsafe int Poll(Span<PollDescriptor> elements, int timeoutMilliseconds)
    {
        fixed (PollDescriptor* start = elements)
        {
            int result = poll(start, (nuint)elements.Length, timeoutMilliseconds);
            return result >= 0 ? result : -Marshal.GetLastPInvokeError();
        }
    }

    internal static SafeFileHandle EpollCreate()
    {
        SafeFileHandle handle = epoll_create1(EPOLL_CLOEXEC);
        int errno = Marshal.GetLastPInvokeError();
        return handle.IsInvalid ? throw new LinuxException("epoll_create1", errno) : handle;
    }

    /// <returns>0 or the error number.</returns>
    // Safety: the buffer has the size of either architecture's struct epoll_event and the kernel only reads it.
    internal static unsafe int EpollControl(SafeHandle epoll, int operation, SafeHandle descriptor, uint events, ulong data)
    {
        byte* registration = stackalloc byte[EpollEvent.LargestSize];
        Unsafe.WriteUnaligned(registration, events);
        Unsafe.WriteUnaligned(registration + EpollEvent.DataOffset, data);
        int result = epoll_ctl(epoll, operation, descriptor, registration);
        return result == 0 ? 0 : Marshal.GetLastPInvokeError();
    }

    /// <summary>Waits for events; the buffer holds <c>buffer.Length / EpollEvent.Size</c> of them.</summary>
    /// <returns>Events stored, or the negative error number.</returns>
    // Safety: the capacity passed is what the buffer holds.
    internal static unsafe int EpollWait(SafeHandle epoll, Span<byte> buffer, int timeoutMilliseconds)
    {
        fixed (byte* start = buffer)
        {
            int result = epoll_wait(epoll, start, buffer.Length / EpollEvent.Size, timeoutMilliseconds);
            return result >= 0 ? result : -Marshal.GetLastPInvokeError();
        }
    }

    /// <summary><c>struct pollfd</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct PollDescriptor
    {
        internal int Descriptor;
        internal short Events;
        internal short Returned;
    }
}
