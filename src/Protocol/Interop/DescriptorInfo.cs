using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>What kind of file a descriptor refers to.</summary>
internal enum FileKind
{
    Unknown,
    Regular,
    Directory,
    CharacterDevice,
    BlockDevice,
    Pipe,
    Socket,
    SymbolicLink,

    /// <summary>A file without a file system behind it: eventfd, timerfd, epoll, userfaultfd, a KVM object.</summary>
    Anonymous,
}

/// <summary>Answers about descriptors that came from somebody else.</summary>
internal static class DescriptorInfo
{
    internal static FileKind Kind(SafeHandle descriptor) => Libc.Status(descriptor, out FileStatus status) != 0
        ? FileKind.Unknown
        : status.Type switch
        {
            Libc.S_IFREG => FileKind.Regular,
            Libc.S_IFDIR => FileKind.Directory,
            Libc.S_IFCHR => FileKind.CharacterDevice,
            Libc.S_IFBLK => FileKind.BlockDevice,
            Libc.S_IFIFO => FileKind.Pipe,
            Libc.S_IFSOCK => FileKind.Socket,
            Libc.S_IFLNK => FileKind.SymbolicLink,
            0 => FileKind.Anonymous,
            _ => FileKind.Unknown,
        };

    /// <summary>Size in bytes of the file behind the descriptor.</summary>
    internal static ulong FileSize(SafeHandle descriptor)
    {
        int errno = Libc.Status(descriptor, out FileStatus status);
        return errno == 0 ? status.Size : throw new LinuxException("statx", errno);
    }

    /// <summary>A number that the file behind the descriptor has for as long as it is there, whoever looks at it; 0 when the kernel does not say.</summary>
    internal static ulong FileNumber(SafeHandle descriptor) => Libc.Status(descriptor, out FileStatus status) == 0 ? status.Inode : 0;

    /// <summary>Whether the descriptor is an eventfd. Where /proc is not mounted, any anonymous file passes.</summary>
    internal static bool IsEventFd(SafeHandle descriptor)
    {
        if (Kind(descriptor) != FileKind.Anonymous) return false;
        string? link = Link(descriptor);
        return link is null || string.Equals(link, "anon_inode:[eventfd]", StringComparison.Ordinal);
    }

    /// <summary>Whether the descriptor is a userfaultfd. Where /proc is not mounted, any anonymous file passes.</summary>
    internal static bool IsUserFaults(SafeHandle descriptor) =>
        Kind(descriptor) == FileKind.Anonymous && Link(descriptor) is null or "anon_inode:[userfaultfd]";

    /// <summary>Whether the descriptor can carry notifications: an eventfd, or a pipe as User-Mode Linux sends it.</summary>
    internal static bool CanNotify(SafeHandle descriptor) =>
        !IsPathOnly(descriptor) && (Kind(descriptor) == FileKind.Pipe || IsEventFd(descriptor));

    /// <summary>Whether the descriptor is a pipe without a name. Opening one with a name would ask its file system, which may be somebody else's program that never answers.</summary>
    internal static bool IsUnnamedPipe(SafeHandle descriptor) =>
        Kind(descriptor) == FileKind.Pipe && Link(descriptor)?.StartsWith("pipe:[", StringComparison.Ordinal) == true;

    /// <summary>
    /// Whether the file is memory and nothing else: a memfd, a file on tmpfs or hugetlbfs, which alone can have seals, or a dma-buf. The kernel answers by itself, also about files of somebody else's file system.
    /// </summary>
    internal static bool IsMemory(SafeHandle descriptor) => Libc.fcntl_seals(descriptor, Libc.F_GET_SEALS, 0) >= 0
        || (Kind(descriptor) == FileKind.Anonymous && Link(descriptor)?.StartsWith("/dmabuf:", StringComparison.Ordinal) == true);

    /// <summary>Whether the descriptor only names a file (O_PATH): it looks like that file, but cannot be read, written, mapped or waited for.</summary>
    internal static bool IsPathOnly(SafeHandle descriptor) => Libc.StatusFlags(descriptor) is var flags and >= 0 && (flags & Libc.O_PATH) != 0;

    /// <summary>A few words for messages: <c>anon_inode:[eventfd]</c>, <c>/dev/shm/ram</c>, <c>directory</c>.</summary>
    internal static string Describe(SafeHandle descriptor)
    {
        FileKind kind = Kind(descriptor);
        string text = Link(descriptor) is { } link ? $"{kind} {link}" : kind.ToString();
        return IsPathOnly(descriptor) ? $"{text} (a path alone, not opened)" : text;
    }

    private static string? Link(SafeHandle descriptor)
    {
        bool held = false;
        try
        {
            descriptor.DangerousAddRef(ref held);
            return new FileInfo($"/proc/self/fd/{(int)descriptor.DangerousGetHandle()}").LinkTarget;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
        finally
        {
            if (held) descriptor.DangerousRelease();
        }
    }
}
