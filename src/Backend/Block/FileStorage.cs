using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A raw disk image in a regular file, or a block device. Data moves between the file and guest memory without a copy in this process.
/// The image is locked while it is open.
/// </summary>
/// <remarks>
/// A length that is not a multiple of 512 is rounded up, as QEMU does: what lies beyond the end of the file reads as zeroes, and writing there extends it.
/// A file shorter than 512 bytes is refused.
/// </remarks>
public sealed class FileStorage : IBlockStorage
{
    private const int ZeroesSize = 64 << 10;

    private static readonly byte[] _zeroes = new byte[ZeroesSize];

    private readonly SafeFileHandle _file;
    private ulong _fileLength;

    private FileStorage(string path, SafeFileHandle file, bool readOnly)
    {
        Path = path;
        _file = file;
        IsReadOnly = readOnly;
        _fileLength = RequireLength();
    }

    /// <summary>The image.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public ulong Length => SectorMath.RoundUp(FileLength);

    /// <summary>Bytes in the file, as last looked at; <see cref="Length"/> is this in whole sectors.</summary>
    public ulong FileLength => Volatile.Read(ref _fileLength);

    /// <inheritdoc/>
    public bool IsReadOnly { get; }

    /// <summary>Opens and locks an image.</summary>
    /// <param name="path">A regular file or a block device; must exist and have at least 512 bytes.</param>
    /// <param name="options">How; null for reading and writing, locked.</param>
    /// <exception cref="BlockStorageException">The image cannot be opened or is in use; the message names it and says what to do.</exception>
    public static FileStorage Open(string path, FileStorageOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        options ??= new FileStorageOptions();
        SafeFileHandle file = OpenFile(path, options.ReadOnly);
        try
        {
            if (DescriptorInfo.Kind(file) is not (FileKind.Regular or FileKind.BlockDevice))
                throw new BlockStorageException(path, $"neither a regular file nor a block device ({DescriptorInfo.Kind(file)})", "Name a raw disk image.");
            if (options.Lock)
                ImageLock.Take(file, path, options.ReadOnly);
            return new FileStorage(path, file, options.ReadOnly);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Read(ulong offset, GuestBuffers destination)
    {
        ulong read = destination.ReadFromFile(_file, offset);
        if (read != destination.Length)
            destination.Slice((uint)read).Fill(0);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, GuestBuffers source) => source.WriteToFile(_file, offset);

    /// <inheritdoc/>
    public void Flush() => ThrowIfFailed("fdatasync", Libc.SyncData(_file));

    /// <inheritdoc/>
    public void Discard(ulong offset, ulong length)
    {
        if (length == 0)
            return;
        int errno = Libc.Allocate(_file, Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE, offset, length);
        if (!IsUnsupported(errno))
            ThrowIfFailed("fallocate(PUNCH_HOLE)", errno);
    }

    /// <inheritdoc/>
    public void WriteZeroes(ulong offset, ulong length, bool mayUnmap)
    {
        if (length == 0)
            return;
        int mode = mayUnmap ? Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE : Libc.FALLOC_FL_ZERO_RANGE | Libc.FALLOC_FL_KEEP_SIZE;
        int errno = Libc.Allocate(_file, mode, offset, length);
        if (IsUnsupported(errno))
            WriteZeroesByHand(offset, length);
        else
            ThrowIfFailed("fallocate", errno);
    }

    /// <inheritdoc/>
    public ulong RefreshLength()
    {
        Volatile.Write(ref _fileLength, RequireLength());
        return Length;
    }

    /// <summary>Closes the image, which gives its locks back.</summary>
    public void Dispose() => _file.Dispose();

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
        : new(path, "this user may not open it for reading and writing", "Check the permissions, or open it read-only.", inner);

    private static bool IsUnsupported(int errno) => errno is Libc.EOPNOTSUPP or Libc.ENOSYS or Libc.EINVAL;

    private static void ThrowIfFailed(string operation, int errno)
    {
        if (errno != 0)
            throw new LinuxException(operation, errno);
    }

    private void WriteZeroesByHand(ulong offset, ulong length)
    {
        while (length != 0)
        {
            int count = (int)Math.Min(length, ZeroesSize);
            RandomAccess.Write(_file, _zeroes.AsSpan(0, count), (long)offset);
            offset += (uint)count;
            length -= (uint)count;
        }
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
