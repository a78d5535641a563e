using System.Buffers.Binary;
using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>A userfaultfd: whoever touches a page that is not there yet, in a range that is watched, waits until somebody has placed it.</summary>
/// <remarks>Threading: all members may be used from any thread.</remarks>
internal sealed class UserFaults : IDisposable
{
    /// <summary>Bytes of <c>struct uffd_msg</c>.</summary>
    private const int MessageBytes = 32;

    private const int ForkedOffset = 8;
    private const int AddressOffset = 16;

    private volatile bool _mayWait;

    private UserFaults(SafeFileHandle descriptor) => Descriptor = descriptor;

    /// <summary>Borrowed: closed with this. To be sent to the one who places pages.</summary>
    internal SafeFileHandle Descriptor { get; }

    /// <summary>
    /// The kernel knows no read of it that never waits (before Linux 6.10). Whoever reads looks first, but the process that it belongs to may make the read wait between the two: nobody may read on a thread that others need.
    /// </summary>
    internal bool MayWait
    {
        get => _mayWait;
        init => _mayWait = value;
    }

    /// <summary>Makes one for this process.</summary>
    /// <exception cref="LinuxException">This user may not have one, or the kernel is older than 5.14.</exception>
    internal static UserFaults Open()
    {
        if (Libc.madvise(0, 0, Libc.MADV_POPULATE_WRITE) != 0)
            throw new LinuxException("madvise(MADV_POPULATE_WRITE), which postcopy needs, from Linux 5.14", Libc.EINVAL);
        SafeFileHandle descriptor = Libc.OpenUserFaults();
        int errno = Libc.UserFaultHandshake(descriptor);
        if (errno == 0)
            return new UserFaults(descriptor);
        descriptor.Dispose();
        throw new LinuxException("ioctl(UFFDIO_API)", errno);
    }

    /// <summary>Uses the userfaultfd of another process. It stays the caller's when this throws.</summary>
    /// <param name="descriptor">What was received.</param>
    /// <param name="mayWait">What <see cref="MayWait"/> is at first.</param>
    /// <exception cref="VhostUserProtocolException">It is none.</exception>
    internal static UserFaults Of(SafeFileHandle descriptor, bool mayWait = false)
    {
        if (!DescriptorInfo.IsUserFaults(descriptor))
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.BadDescriptor, $"the descriptor is no userfaultfd ({DescriptorInfo.Describe(descriptor)})");
        }

        Libc.SetNonBlocking(descriptor); // poll(2) knows no other
        return new UserFaults(descriptor) { MayWait = mayWait };
    }

    /// <summary>Another number for it.</summary>
    internal SafeFileHandle Duplicate() => Libc.Duplicate(Descriptor);

    /// <summary>Watches a range of whole pages of this process.</summary>
    /// <exception cref="LinuxException">It is not watched, for example because its file is none in memory.</exception>
    internal void Watch(nint start, nuint length)
    {
        int errno = Libc.UserFaultRegister(Descriptor, start, length);
        if (errno != 0)
            throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"ioctl(UFFDIO_REGISTER, {length} bytes)"), errno);
    }

    /// <summary>Watches a range no more; whoever waits for a page in it goes on, and where that can be written to makes one of zeros. Without effect on one that is not watched.</summary>
    internal void Release(nint start, nuint length) => _ = Libc.UserFaultUnregister(Descriptor, start, length);

    /// <summary>Places whole pages, each of them at once, as far as there is none yet.</summary>
    /// <returns>Bytes that were placed; 0 and <paramref name="errno"/> when that is none.</returns>
    internal int Place(nint destination, ReadOnlySpan<byte> pages, out int errno)
    {
        long result;
        do
        {
            result = Libc.UserFaultCopy(Descriptor, destination, pages);
        }
        while (result == -Libc.EAGAIN); // somebody changes mappings of the process at this moment

        errno = result < 0 ? (int)-result : 0;
        return (int)Math.Max(result, 0);
    }

    /// <summary>Has those look again who wait for a page of a range, in whichever process.</summary>
    /// <returns>0 or the error number.</returns>
    internal int Wake(ulong start, ulong length) => Libc.UserFaultWake(Descriptor, start, length);

    /// <summary>Reads addresses of which somebody waits for the page. Does not wait, but for what <see cref="MayWait"/> says.</summary>
    /// <param name="addresses">Room for at least one.</param>
    /// <returns>How many; 0 when there is none at present, or <see cref="MayWait"/> has just become true.</returns>
    /// <exception cref="LinuxException">It cannot be read.</exception>
    /// <exception cref="VhostUserProtocolException">It tells of something else than faults, which nobody has asked for.</exception>
    internal int Read(Span<ulong> addresses)
    {
        Span<byte> messages = stackalloc byte[16 * MessageBytes];
        messages = messages[..(Math.Min(addresses.Length, 16) * MessageBytes)];
        int result = MayWait ? ReadIfReadable(messages) : Libc.ReadNoWait(Descriptor, messages);
        if (!MayWait && result is -Libc.EOPNOTSUPP or -Libc.EINVAL)
            _mayWait = true;
        else if (result is not (-Libc.EAGAIN or -Libc.EINTR))
            return result >= 0 ? Decode(messages[..result], addresses) : throw new LinuxException("read(userfaultfd)", -result);
        return 0;
    }

    /// <summary>When its O_NONBLOCK is gone, poll(2) says POLLERR, and a read waits.</summary>
    private int ReadIfReadable(Span<byte> messages)
    {
        int events = Libc.Poll(Descriptor, Libc.POLLIN, timeoutMilliseconds: 0);
        return events == Libc.POLLIN ? Libc.Read(Descriptor, messages) : Math.Min(events, -Libc.EAGAIN);
    }

    private static int Decode(ReadOnlySpan<byte> messages, Span<ulong> addresses)
    {
        int count = 0;
        byte? other = null;
        for (; messages.Length >= MessageBytes; messages = messages[MessageBytes..])
        {
            if (messages[0] == Libc.UFFD_EVENT_PAGEFAULT)
            {
                addresses[count++] = BinaryPrimitives.ReadUInt64LittleEndian(messages[AddressOffset..]);
                continue;
            }

            other = messages[0];
            if (other == Libc.UFFD_EVENT_FORK) // the child's userfaultfd has come into this process
                new SafeFileHandle(BinaryPrimitives.ReadInt32LittleEndian(messages[ForkedOffset..]), ownsHandle: true).Dispose();
        }

        return other is null ? count : throw new VhostUserProtocolException(VhostUserViolation.BadDescriptor, $"the userfaultfd tells of event 0x{other:x}, which is no page fault");
    }

    public void Dispose() => Descriptor.Dispose();
}
