using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

internal static partial class Libc
{
    [LibraryImport("libc", SetLastError = true)]
    private static partial SafeFileHandle socket(int domain, int type, int protocol);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int socketpair(int domain, int type, int protocol, int* pair);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int bind(SafeHandle socket, byte* address, uint length);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int connect(SafeHandle socket, byte* address, uint length);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int listen(SafeHandle socket, int backlog);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial SafeFileHandle accept4(SafeHandle socket, void* address, uint* length, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int shutdown(SafeHandle socket, int how);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int getpeername(SafeHandle socket, byte* address, uint* length);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int getsockname(SafeHandle socket, byte* address, uint* length);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int getsockopt(SafeHandle socket, int level, int option, void* value, uint* length);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int setsockopt(SafeHandle socket, int level, int option, void* value, uint length);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial nint sendmsg(SafeHandle socket, MessageHeader* message, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial nint recvmsg(SafeHandle socket, MessageHeader* message, int flags);

    /// <summary>A new Unix stream socket: non-blocking, closed on exec.</summary>
    internal static SafeFileHandle UnixSocket()
    {
        SafeFileHandle handle = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int errno = Marshal.GetLastPInvokeError();
        return handle.IsInvalid ? throw new LinuxException("socket", errno) : handle;
    }

    // Safety: the kernel writes two ints into a buffer of two ints.
    internal static unsafe (SafeFileHandle First, SafeFileHandle Second) UnixSocketPair()
    {
        int* pair = stackalloc int[2];
        int result = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair);
        int errno = Marshal.GetLastPInvokeError();
        if (result != 0) throw new LinuxException("socketpair", errno);
        return (new SafeFileHandle(pair[0], ownsHandle: true), new SafeFileHandle(pair[1], ownsHandle: true));
    }

    /// <returns>0 or the error number.</returns>
    // Safety: the address buffer is fixed for the call and its length is passed.
    internal static unsafe int Bind(SafeHandle socket, ReadOnlySpan<byte> address)
    {
        fixed (byte* start = address)
        {
            int result = bind(socket, start, (uint)address.Length);
            return result == 0 ? 0 : Marshal.GetLastPInvokeError();
        }
    }

    /// <returns>0 or the error number.</returns>
    // Safety: the address buffer is fixed for the call and its length is passed.
    internal static unsafe int Connect(SafeHandle socket, ReadOnlySpan<byte> address)
    {
        fixed (byte* start = address)
        {
            int result = connect(socket, start, (uint)address.Length);
            return result == 0 ? 0 : Marshal.GetLastPInvokeError();
        }
    }

    /// <returns>0 or the error number.</returns>
    internal static int Listen(SafeHandle socket, int backlog) => listen(socket, backlog) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Takes one waiting connection: non-blocking, closed on exec. Invalid handle and <paramref name="errno"/> when there is none.</summary>
    // Safety: no address is asked for, so the kernel writes nothing.
    internal static unsafe SafeFileHandle Accept(SafeHandle socket, out int errno)
    {
        SafeFileHandle handle = accept4(socket, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC);
        errno = Marshal.GetLastPInvokeError();
        if (!handle.IsInvalid) errno = 0;
        return handle;
    }

    /// <summary>Ends one direction or both; whoever waits for that on the socket, here or at the peer, wakes up.</summary>
    internal static void Shutdown(SafeHandle socket, int how) => _ = shutdown(socket, how);

    /// <summary>Whether the socket has a peer.</summary>
    // Safety: the kernel writes at most the length it is told.
    internal static unsafe bool HasPeer(SafeHandle socket)
    {
        byte* address = stackalloc byte[128];
        uint length = 128;
        return getpeername(socket, address, &length) == 0;
    }

    /// <summary>Whether the peer of one socket has the very name that another one has: both ends belong to one listener. False where a socket has no name.</summary>
    // Safety: the kernel writes at most the length it is told; of what it reports, no more than that is looked at.
    internal static unsafe bool PeerIsNamedLike(SafeHandle socket, SafeHandle other)
    {
        const int Capacity = 128;
        const int Family = sizeof(ushort);
        byte* peer = stackalloc byte[Capacity];
        byte* name = stackalloc byte[Capacity];
        uint peerLength = Capacity;
        uint nameLength = Capacity;
        if (getpeername(socket, peer, &peerLength) != 0 || getsockname(other, name, &nameLength) != 0) return false;
        return nameLength is > Family and <= Capacity && peerLength == nameLength
            && new ReadOnlySpan<byte>(peer, (int)peerLength).SequenceEqual(new ReadOnlySpan<byte>(name, (int)nameLength));
    }

    /// <summary>The file that a Unix socket is bound to; null where it has none.</summary>
    // Safety: the kernel writes at most the length it is told; of what it reports, no more than that is looked at.
    internal static unsafe string? BoundPath(SafeHandle socket)
    {
        const int Capacity = 128;
        const int Family = sizeof(ushort);
        byte* name = stackalloc byte[Capacity];
        uint length = Capacity;
        if (getsockname(socket, name, &length) != 0 || length is <= Family or > Capacity || name[0] != AF_UNIX || name[Family] == 0) return null;
        ReadOnlySpan<byte> path = new(name + Family, (int)length - Family);
        return Encoding.UTF8.GetString(path.IndexOf((byte)0) is var end and >= 0 ? path[..end] : path);
    }

    /// <summary>Reads an <c>int</c> option of the socket level; false when it is no socket or has no such option.</summary>
    // Safety: the kernel writes at most the four bytes it is told.
    internal static unsafe bool TryGetOption(SafeHandle socket, int option, out int value)
    {
        int local = 0;
        uint length = sizeof(int);
        bool found = getsockopt(socket, SOL_SOCKET, option, &local, &length) == 0;
        value = local;
        return found;
    }

    /// <summary>The process at the other end as it was when the connection was made; 0 when the kernel does not say.</summary>
    // Safety: ucred is three ints and the kernel writes at most the length it is told.
    internal static unsafe int PeerProcess(SafeHandle socket)
    {
        int* credentials = stackalloc int[3];
        uint length = 3 * sizeof(int);
        return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, credentials, &length) == 0 ? credentials[0] : 0;
    }

    /// <summary>From now on <see cref="Receive"/> tells which process has sent what it received. Where the kernel will not, nothing changes.</summary>
    // Safety: the kernel reads the four bytes it is told.
    internal static unsafe void NameSenders(SafeHandle socket)
    {
        int on = 1;
        _ = setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(int));
    }

    /// <summary>A descriptor of a process, readable once that has ended.</summary>
    /// <returns>Null, and the error number, when the kernel gives none: <c>ESRCH</c> when there is no such process.</returns>
    internal static SafeFileHandle? OpenProcess(int id, out int errno)
    {
        const nint PidfdOpen = 434;
        nint descriptor = syscall_pidfd_open(PidfdOpen, id, 0);
        errno = Marshal.GetLastPInvokeError();
        return descriptor >= 0 ? new SafeFileHandle(descriptor, ownsHandle: true) : null;
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint syscall_pidfd_open(nint number, nint process, nint flags);

    /// <summary>One <c>sendmsg</c>; the descriptors travel with the first byte.</summary>
    /// <returns>Bytes taken by the socket, or the negative error number.</returns>
    // Safety: all buffers outlive the call; the control buffer is sized by the same arithmetic that fills it; each descriptor is held by a reference.
    internal static unsafe int Send(SafeHandle socket, ReadOnlySpan<byte> bytes, ReadOnlySpan<SafeHandle> descriptors)
    {
        int space = descriptors.IsEmpty ? 0 : ControlSpace(descriptors.Length);
        byte* control = stackalloc byte[space];
        int held = 0;
        try
        {
            for (; held < descriptors.Length; held++) Hold(descriptors[held], control + ControlHeader + (held * sizeof(int)));
            if (space != 0) WriteControlHeader(new Span<byte>(control, space), descriptors.Length);
            fixed (byte* start = bytes)
            {
                IoVector vector = new() { Base = start, Length = (nuint)bytes.Length };
                MessageHeader message = new() { Vectors = &vector, VectorCount = 1, Control = control, ControlLength = (nuint)space };
                nint sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
                return sent >= 0 ? (int)sent : -Marshal.GetLastPInvokeError();
            }
        }
        finally
        {
            while (held > 0) descriptors[--held].DangerousRelease();
        }
    }

    /// <summary>One <c>recvmsg</c> that never waits; descriptors that came along are added to <paramref name="descriptors"/> at once.</summary>
    /// <param name="socket">A connected one.</param>
    /// <param name="buffer">Where the bytes go.</param>
    /// <param name="descriptors">Where the descriptors go.</param>
    /// <param name="truncated">Whether not all descriptors could be had.</param>
    /// <param name="sender">Set to the process that sent these bytes, 0 where it has no number here, after <see cref="NameSenders"/>; else left as it is.</param>
    /// <returns>Bytes received, 0 at the end of the stream, or the negative error number.</returns>
    // Safety: both buffers outlive the call and their lengths are passed; the list has room for every descriptor the control buffer can carry,
    // so that nothing can throw between the kernel installing a descriptor and its being owned.
    [SkipLocalsInit]
    internal static unsafe int Receive(SafeHandle socket, Span<byte> buffer, ReceivedDescriptors descriptors, out bool truncated, ref int sender)
    {
        // Room for both, so that the name of the sender takes none from the descriptors.
        int space = ControlSpace(SCM_MAX_FD) + ControlSpace(CredentialWords);
        descriptors.Reserve((space - ControlHeader) / sizeof(int));
        byte* control = stackalloc byte[space];
        fixed (byte* start = buffer)
        {
            IoVector vector = new() { Base = start, Length = (nuint)buffer.Length };
            MessageHeader message = new() { Vectors = &vector, VectorCount = 1, Control = control, ControlLength = (nuint)space };
            nint received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
            if (received < 0)
            {
                truncated = false;
                return -Marshal.GetLastPInvokeError();
            }

            truncated = (message.Flags & MSG_CTRUNC) != 0;
            int from = sender;
            if (message.ControlLength != 0) TakeControl(new ReadOnlySpan<byte>(control, (int)message.ControlLength), descriptors, ref from);
            if (received > 0) sender = from; // the end of the stream comes from nobody
            return (int)received;
        }
    }

    /// <summary>Bytes of <c>struct cmsghdr</c>: a machine word of length, level, type.</summary>
    internal const int ControlHeader = 16;

    /// <summary>Words of <c>struct ucred</c>: process, user, group.</summary>
    private const int CredentialWords = 3;

    /// <summary><c>CMSG_SPACE</c> of that many descriptors: header and data, aligned to the machine word.</summary>
    internal static int ControlSpace(int descriptors) => (ControlHeader + (descriptors * sizeof(int)) + 7) & ~7;

    private static void WriteControlHeader(Span<byte> control, int descriptors)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(control, (ulong)(ControlHeader + (descriptors * sizeof(int))));
        BinaryPrimitives.WriteInt32LittleEndian(control[8..], SOL_SOCKET);
        BinaryPrimitives.WriteInt32LittleEndian(control[12..], SCM_RIGHTS);
    }

    // Safety: the caller's buffer has four bytes at the destination; the reference taken here is given back by the caller after the call.
    private static unsafe void Hold(SafeHandle descriptor, byte* destination)
    {
        bool held = false;
        descriptor.DangerousAddRef(ref held);
        Unsafe.WriteUnaligned(destination, (int)descriptor.DangerousGetHandle());
    }

    /// <summary>Walks the control messages the way <c>CMSG_NXTHDR</c> does, owns every descriptor found, and notes who sent them.</summary>
    private static void TakeControl(ReadOnlySpan<byte> control, ReceivedDescriptors descriptors, ref int sender)
    {
        while (control.Length >= ControlHeader)
        {
            ulong length = BinaryPrimitives.ReadUInt64LittleEndian(control);
            if (length < ControlHeader || length > (ulong)control.Length) return;
            ReadOnlySpan<byte> data = control[ControlHeader..(int)length];
            int? type = BinaryPrimitives.ReadInt32LittleEndian(control[8..]) == SOL_SOCKET ? BinaryPrimitives.ReadInt32LittleEndian(control[12..]) : null;
            if (type == SCM_CREDENTIALS && data.Length >= sizeof(int)) sender = BinaryPrimitives.ReadInt32LittleEndian(data);
            for (bool rights = type == SCM_RIGHTS; rights && data.Length >= sizeof(int); data = data[sizeof(int)..])
                descriptors.Add(BinaryPrimitives.ReadInt32LittleEndian(data));
            control = control[Math.Min(control.Length, ((int)length + 7) & ~7)..];
        }
    }

    /// <summary><c>struct msghdr</c> of a 64-bit Linux; padding is zero, so that C libraries with narrower length fields read the same values.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private unsafe struct MessageHeader
    {
        internal byte* Name;
        internal nuint NameLength;
        internal IoVector* Vectors;
        internal nuint VectorCount;
        internal byte* Control;
        internal nuint ControlLength;
        internal int Flags;
    }
}
