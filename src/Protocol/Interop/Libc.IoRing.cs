using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>The system calls of io_uring, which libc does not wrap. Their numbers are the same on x64 and arm64.</summary>
internal static partial class Libc
{
    internal const uint IORING_SETUP_CQSIZE = 1 << 3;

    // All there since Linux 5.6.
    internal const uint IORING_FEAT_SINGLE_MMAP = 1 << 0;
    internal const uint IORING_FEAT_NODROP = 1 << 1;
    internal const uint IORING_FEAT_SUBMIT_STABLE = 1 << 2;
    internal const uint IORING_FEAT_RW_CUR_POS = 1 << 3;

    internal const long IORING_OFF_SQ_RING = 0;
    internal const long IORING_OFF_SQES = 0x10000000;

    internal const byte IORING_OP_READV = 1;
    internal const byte IORING_OP_WRITEV = 2;
    internal const byte IORING_OP_FSYNC = 3;
    internal const byte IORING_OP_FALLOCATE = 17;
    internal const byte IORING_OP_READ = 22;
    internal const byte IORING_OP_WRITE = 23;
    internal const uint IORING_FSYNC_DATASYNC = 1;

    internal const byte IOSQE_FIXED_FILE = 1;

    internal const int RWF_DSYNC = 0x2;

    private const nint IoUringSetup = 425;
    private const nint IoUringEnter = 426;
    private const nint IoUringRegister = 427;
    private const uint IORING_REGISTER_FILES = 2;
    private const uint IORING_UNREGISTER_FILES = 3;
    private const uint IORING_REGISTER_EVENTFD = 4;

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static unsafe partial nint syscall_io_uring_setup(nint number, uint entries, IoRingParameters* parameters);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint syscall_io_uring_enter(nint number, SafeHandle ring, uint submit, uint minimum, uint flags, nint mask, nuint maskSize);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static unsafe partial nint syscall_io_uring_register(nint number, SafeHandle ring, uint operation, void* argument, uint count);

    /// <summary>A new ring, closed on exec.</summary>
    /// <returns>Null, and the error number, when the kernel refuses: <c>ENOSYS</c> without io_uring, <c>EPERM</c> where it is forbidden.</returns>
    // Safety: the structure has the kernel's layout; the kernel reads and fills it during the call.
    internal static unsafe SafeFileHandle? IoRingSetup(uint entries, ref IoRingParameters parameters, out int errno)
    {
        nint result;
        fixed (IoRingParameters* start = &parameters)
        {
            result = syscall_io_uring_setup(IoUringSetup, entries, start);
            errno = Marshal.GetLastPInvokeError();
        }

        return result >= 0 ? new SafeFileHandle(result, ownsHandle: true) : null;
    }

    /// <summary>Hands the first <paramref name="submit"/> entries to the kernel; waits for nothing.</summary>
    /// <returns>Entries taken, or the negative error number.</returns>
    internal static int IoRingEnter(SafeHandle ring, uint submit)
    {
        nint result = syscall_io_uring_enter(IoUringEnter, ring, submit, 0, 0, 0, 0);
        return result >= 0 ? (int)result : -Marshal.GetLastPInvokeError();
    }

    /// <summary>Has an eventfd signalled whenever something completes.</summary>
    /// <returns>0 or the error number.</returns>
    internal static int IoRingRegisterEvent(SafeHandle ring, SafeHandle notification) => IoRingRegister(ring, IORING_REGISTER_EVENTFD, notification);

    /// <summary>Makes a file the ring's file 0, which submissions name without a look at the table of descriptors.</summary>
    /// <returns>0 or the error number.</returns>
    internal static int IoRingRegisterFile(SafeHandle ring, SafeHandle file) => IoRingRegister(ring, IORING_REGISTER_FILES, file);

    /// <summary>Gives the ring's file back at once; closing the ring alone does so some time later.</summary>
    // Safety: no argument.
    internal static unsafe void IoRingUnregisterFile(SafeHandle ring) => syscall_io_uring_register(IoUringRegister, ring, IORING_UNREGISTER_FILES, null, 0);

    // Safety: one number in, read during the call, in which the ring takes the open file; the reference keeps the number from being closed meanwhile.
    private static unsafe int IoRingRegister(SafeHandle ring, uint operation, SafeHandle file)
    {
        bool held = false;
        try
        {
            file.DangerousAddRef(ref held);
            int descriptor = (int)file.DangerousGetHandle();
            nint result = syscall_io_uring_register(IoUringRegister, ring, operation, &descriptor, 1);
            int errno = Marshal.GetLastPInvokeError();
            return result >= 0 ? 0 : errno;
        }
        finally
        {
            if (held) file.DangerousRelease();
        }
    }

    /// <summary><c>struct io_uring_params</c>, 120 bytes, with the offsets of the shared words that the kernel answers.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 120)]
    internal struct IoRingParameters
    {
        [FieldOffset(0)]
        internal uint SubmissionEntries;

        [FieldOffset(4)]
        internal uint CompletionEntries;

        [FieldOffset(8)]
        internal uint Flags;

        [FieldOffset(20)]
        internal uint Features;

        [FieldOffset(44)]
        internal uint SubmissionTail;

        [FieldOffset(64)]
        internal uint SubmissionArray;

        [FieldOffset(80)]
        internal uint CompletionHead;

        [FieldOffset(84)]
        internal uint CompletionTail;

        [FieldOffset(100)]
        internal uint Completions;
    }

    /// <summary><c>struct io_uring_sqe</c>: one request.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 64)]
    internal struct IoRingSubmission
    {
        [FieldOffset(0)]
        internal byte Operation;

        [FieldOffset(1)]
        internal byte Flags;

        /// <summary>A descriptor, or with <c>IOSQE_FIXED_FILE</c> the number of one of the ring's files.</summary>
        [FieldOffset(4)]
        internal int File;

        [FieldOffset(8)]
        internal ulong Offset;

        [FieldOffset(16)]
        internal ulong Address;

        [FieldOffset(24)]
        internal uint Length;

        /// <summary>Flags of the operation: <c>rw_flags</c>, <c>fsync_flags</c>.</summary>
        [FieldOffset(28)]
        internal uint OperationFlags;

        [FieldOffset(32)]
        internal ulong UserData;
    }

    /// <summary><c>struct io_uring_cqe</c>: what came of one request.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 16)]
    internal struct IoRingCompletion
    {
        [FieldOffset(0)]
        internal ulong UserData;

        /// <summary>Bytes, or the negative error number.</summary>
        [FieldOffset(8)]
        internal int Result;
    }
}
