using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>userfaultfd (Linux, Documentation/admin-guide/mm/userfaultfd.rst). Numbers of requests are the same on x64 and arm64.</summary>
internal static unsafe partial class Libc
{
    internal const int MADV_NOHUGEPAGE = 15;

    /// <summary>Since Linux 5.14: brings pages in as a write would, and waits for a userfaultfd as long as it takes.</summary>
    internal const int MADV_POPULATE_WRITE = 23;

    internal const byte UFFD_EVENT_PAGEFAULT = 0x12;
    internal const byte UFFD_EVENT_FORK = 0x13;

    private const nuint USERFAULTFD_IOC_NEW = 0xAA00;
    private const nuint UFFDIO_API = 0xC018AA3F;
    private const nuint UFFDIO_REGISTER = 0xC020AA00;
    private const nuint UFFDIO_UNREGISTER = 0x8010AA01;
    private const nuint UFFDIO_WAKE = 0x8010AA02;
    private const nuint UFFDIO_COPY = 0xC028AA03;
    private const ulong UFFD_API = 0xAA;
    private const ulong UFFDIO_REGISTER_MODE_MISSING = 1;

    private static nint UserFaultSystemCall => RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 282 : 323;

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint syscall_userfaultfd(nint number, int flags);

    /// <summary>The request's argument is a number and no address.</summary>
    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int ioctl_number(SafeHandle descriptor, nuint request, nint argument);

    /// <summary>A new userfaultfd, non-blocking and closed on exec: by the device file, or where there is none by the system call.</summary>
    /// <exception cref="LinuxException">This user may not have one; the message says what would help.</exception>
    internal static SafeFileHandle OpenUserFaults()
    {
        const int Flags = O_CLOEXEC | O_NONBLOCK;
        using SafeFileHandle? device = TryOpen("/dev/userfaultfd", O_RDWR | O_CLOEXEC, out _);
        nint result = device is null ? syscall_userfaultfd(UserFaultSystemCall, Flags) : ioctl_number(device, USERFAULTFD_IOC_NEW, Flags);
        int errno = Marshal.GetLastPInvokeError();
        return result >= 0
            ? new SafeFileHandle(result, ownsHandle: true)
            : throw new LinuxException("userfaultfd (needs read and write permission for /dev/userfaultfd, CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd = 1)", errno);
    }

    /// <summary>The first request on a userfaultfd: its version, and no features beyond that.</summary>
    /// <returns>0 or the error number.</returns>
    // Safety: struct uffdio_api is three words.
    internal static int UserFaultHandshake(SafeHandle descriptor)
    {
        ulong* argument = stackalloc ulong[3] { UFFD_API, 0, 0 };
        return UserFaultControl(descriptor, UFFDIO_API, argument);
    }

    /// <summary>Faults on pages that are in no file and no memory wait from now on.</summary>
    /// <returns>0 or the error number.</returns>
    // Safety: struct uffdio_register is four words; the range is not touched, only watched.
    internal static int UserFaultRegister(SafeHandle descriptor, nint start, nuint length)
    {
        ulong* argument = stackalloc ulong[4] { (ulong)start, length, UFFDIO_REGISTER_MODE_MISSING, 0 };
        return UserFaultControl(descriptor, UFFDIO_REGISTER, argument);
    }

    /// <summary>Faults wait no more, and whoever waits goes on.</summary>
    /// <returns>0 or the error number.</returns>
    // Safety: struct uffdio_range is two words.
    internal static int UserFaultUnregister(SafeHandle descriptor, nint start, nuint length)
    {
        ulong* argument = stackalloc ulong[2] { (ulong)start, length };
        return UserFaultControl(descriptor, UFFDIO_UNREGISTER, argument);
    }

    /// <summary>Whoever waits for one of the pages looks again.</summary>
    /// <returns>0 or the error number.</returns>
    // Safety: struct uffdio_range is two words; the addresses may be those of another process.
    internal static int UserFaultWake(SafeHandle descriptor, ulong start, ulong length)
    {
        ulong* argument = stackalloc ulong[2] { start, length };
        return UserFaultControl(descriptor, UFFDIO_WAKE, argument);
    }

    /// <summary>Places whole pages, each of them at once, where there are none yet; wakes whoever waits for them.</summary>
    /// <returns>Bytes placed, or when there are none the negative error number: <c>EEXIST</c> for a page that is there already.</returns>
    // Safety: struct uffdio_copy is five words; the source is fixed for the call, and the kernel reads no more than its length from it.
    internal static long UserFaultCopy(SafeHandle descriptor, nint destination, ReadOnlySpan<byte> pages)
    {
        fixed (byte* source = pages)
        {
            ulong* argument = stackalloc ulong[5] { (ulong)destination, (ulong)source, (ulong)pages.Length, 0, 0 };
            int errno = UserFaultControl(descriptor, UFFDIO_COPY, argument);
            long copied = (long)argument[4];
            return errno == 0 || copied > 0 ? copied : -errno;
        }
    }

    // Safety: the caller passes as many words as the request has.
    private static int UserFaultControl(SafeHandle descriptor, nuint request, ulong* argument)
    {
        int result = ioctl(descriptor, request, (byte*)argument);
        return result >= 0 ? 0 : Marshal.GetLastPInvokeError();
    }
}
