using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>From a path to a file that is open in the way that was asked for, or a reason why not.</summary>
public sealed partial class FileStorage
{
    private FileStorage(string path, SafeFileHandle file, FileStorageOptions options)
    {
        Path = path;
        _file = file;
        _logger = (options.LoggerFactory ?? NullLoggerFactory.Instance).CreateLogger("Vhost.Backend");
        IsReadOnly = options.ReadOnly;
        _isDirect = options.Cache == FileCache.None;
        (_memoryAlignment, RequestAlignment) = _isDirect ? MakeDirect(path, file) : (1, SectorMath.SectorSize);
        _readsNow = _writesNow = !_isDirect;
        _asynchronous = ChooseAio(options.Aio);
        _fileLength = RequireLength();
    }

    /// <summary>Opens and locks an image.</summary>
    /// <param name="path">A regular file or a block device with the bytes of the disk (a raw image); must exist and have at least 512 bytes.</param>
    /// <param name="options">How; null for reading and writing, locked.</param>
    /// <exception cref="BlockStorageException">The image cannot be opened, is in use or of another format; the message names it and says what to do.</exception>
    public static FileStorage Open(string path, FileStorageOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        options ??= new FileStorageOptions();
        SafeFileHandle file = OpenFile(path, options.ReadOnly);
        try
        {
            if (DescriptorInfo.Kind(file) is not (FileKind.Regular or FileKind.BlockDevice))
                throw new BlockStorageException(path, $"neither a regular file nor a block device ({DescriptorInfo.Kind(file)})", "Name a raw disk image.");
            _ = Libc.AddStatusFlags(file, Libc.O_NOATIME); // saves a look at the clock for each read; only the file's owner may
            if (options.Lock)
                ImageLock.Take(file, path, options.ReadOnly);
            if (!options.Raw)
                ImageFormat.RequireRaw(path, file);
            return new FileStorage(path, file, options);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static SafeFileHandle OpenFile(string path, bool readOnly)
    {
        try
        {
            // Sharing is settled by the image locks; .NET's own emulation would add flock(), which QEMU does not know.
            return File.OpenHandle(path, FileMode.Open, readOnly ? FileAccess.Read : FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new BlockStorageException(path, "does not exist", $"Check the path, or make an image: truncate -s 1G {path}", e);
        }
        catch (UnauthorizedAccessException e)
        {
            if (Directory.Exists(path))
                throw new BlockStorageException(path, "is a directory", "Name a raw disk image.", e);
            throw NotAllowed(path, readOnly, e);
        }
        catch (Exception e) when (e is IOException or ArgumentException or NotSupportedException)
        {
            throw new BlockStorageException(path, $"cannot be opened ({e.Message})", "Name a raw disk image that this user may open.", e);
        }
    }

    private static BlockStorageException NotAllowed(string path, bool readOnly, Exception inner) => readOnly
        ? new(path, "this user may not open it for reading", "Check the permissions.", inner)
        : new(path, "this user may not open it for reading and writing", "Check the permissions, or open it for reading only (--read-only, FileStorageOptions.ReadOnly).", inner);

    /// <summary>Takes the page cache out of the way.</summary>
    /// <returns>What addresses in memory, and what offsets and lengths, must be multiples of.</returns>
    private static (uint Memory, uint Request) MakeDirect(string path, SafeFileHandle file)
    {
        int errno = Libc.AddStatusFlags(file, Libc.O_DIRECT);
        bool told = Libc.TryGetDirectAlignment(file, out uint memory, out uint request);
        if (errno != 0 || (told && memory == 0))
        {
            throw new BlockStorageException(
                path, "its file system cannot be read past the page cache (O_DIRECT)", "Use the page cache, or move the image to another file system.",
                errno != 0 ? new LinuxException("fcntl(F_SETFL, O_DIRECT)", errno) : null);
        }

        if (!told)
            request = memory = SmallestDirectRead(path, file);
        return request <= BlockDeviceOptions.LargestBlock
            ? (memory, Math.Max(request, SectorMath.SectorSize))
            : throw new BlockStorageException(
                path,
                string.Create(CultureInfo.InvariantCulture, $"past the page cache it can be read only in multiples of {request} bytes"),
                "Use the page cache.");
    }

    /// <summary>For kernels and file systems that do not say what they need: the smallest read that works.</summary>
    private static uint SmallestDirectRead(string path, SafeFileHandle file)
    {
        for (uint size = SectorMath.SectorSize; size <= BlockDeviceOptions.LargestBlock; size *= 2)
        {
            try
            {
                // At an offset that is a multiple of this size and of no larger one.
                RandomAccess.Read(file, BounceBuffer.OfThisThread[..(int)size], size);
                return size;
            }
            catch (IOException) when (size < BlockDeviceOptions.LargestBlock)
            {
                // Too small.
            }
            catch (IOException e)
            {
                throw new BlockStorageException(path, $"it cannot be read ({e.Message})", "Check the disk, or use the page cache.", e);
            }
        }

        return SectorMath.SectorSize;
    }

    private bool ChooseAio(FileAio aio)
    {
        // Of a block device this would tell the file system of its name, which is always in memory.
        bool isFile = DescriptorInfo.Kind(_file) == FileKind.Regular;
        bool inUserSpace = isFile && Libc.IsInUserSpace(_file);
        if (aio == FileAio.Sync || (aio == FileAio.Auto && (inUserSpace || (isFile && Libc.IsInMemory(_file)))))
            return false;
        if (inUserSpace)
        {
            // The kernel goes on with a short read where it began, and waits in the call that hands a request over (seen on Linux 6.18).
            throw new BlockStorageException(
                Path, "io_uring cannot be used on a file system in user space (FUSE, virtiofs), where it reads wrong data at the end of a file", "Do without it.");
        }

        using IoRing? ring = IoRing.TryCreate(_file, 1, out LinuxException? failure);
        if (ring is not null)
            return true;
        if (aio == FileAio.IoUring)
        {
            throw new BlockStorageException(
                Path, $"io_uring cannot be used ({failure!.Message})", "Allow it (sysctl kernel.io_uring_disabled, seccomp, open files), or do without it.", failure);
        }

        BackendLog.NoIoRing(_logger, Path, failure!.Message);
        return false;
    }

    private ulong RequireLength()
    {
        long length = Libc.Length(_file);
        if (length < 0)
            throw new BlockStorageException(Path, "its length cannot be read", "Name a raw disk image.", new LinuxException("lseek", (int)-length));
        if (length >= SectorMath.SectorSize)
            return (ulong)length;
        string has = length == 0 ? "is empty" : string.Create(CultureInfo.InvariantCulture, $"has {length} bytes, less than one sector of {SectorMath.SectorSize}");
        throw new BlockStorageException(Path, has, $"Name a raw disk image, or give it a size: truncate -s 1G {Path}");
    }
}
