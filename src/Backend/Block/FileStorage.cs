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
public sealed partial class FileStorage : IBlockStorage
{
    internal const int PunchHole = Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE;
    internal const int ZeroRange = Libc.FALLOC_FL_ZERO_RANGE | Libc.FALLOC_FL_KEEP_SIZE;

    private readonly SafeFileHandle _file;
    private readonly bool _isDirect;
    private readonly uint _memoryAlignment;
    private ulong _fileLength;

    /// <summary>The image.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public ulong Length => SectorMath.RoundUp(FileLength);

    /// <summary>Bytes in the file, as last looked at; <see cref="Length"/> is this in whole sectors.</summary>
    public ulong FileLength => Volatile.Read(ref _fileLength);

    /// <inheritdoc/>
    public bool IsReadOnly { get; }

    /// <inheritdoc/>
    public uint RequestAlignment { get; }

    /// <summary>What is done with the host's page cache.</summary>
    public FileCache Cache => _isDirect ? FileCache.None : FileCache.WriteBack;

    /// <summary>
    /// Whether requests wait for the disk side by side, by io_uring, or one after the other. A queue that starts while the process is short of descriptors or memory does without.
    /// </summary>
    public bool IsAsynchronous => _asynchronous;

    /// <inheritdoc/>
    public void Read(ulong offset, in GuestBuffers destination)
    {
        ulong read = Suits(destination) ? destination.ReadFromFile(_file, offset) : ReadThroughBuffer(offset, destination);
        if (read != destination.Length)
            destination.Slice((uint)read).Fill(0);
    }

    /// <inheritdoc/>
    public void Write(ulong offset, in GuestBuffers source)
    {
        if (Suits(source))
            source.WriteToFile(_file, offset);
        else
            WriteThroughBuffer(offset, source);
    }

    /// <inheritdoc/>
    public void Flush() => ThrowIfFailed("fdatasync", Libc.SyncData(_file));

    /// <summary>Drops what the page cache has of the image, as far as the kernel gives it up: pages that are mapped or being written stay.</summary>
    public void ForgetCache()
    {
        if (!_isDirect)
            ThrowIfFailed("posix_fadvise(DONTNEED)", Libc.DropCache(_file));
    }

    /// <inheritdoc/>
    public void Discard(ulong offset, ulong length)
    {
        if (length == 0)
            return;
        int errno = Libc.Allocate(_file, PunchHole, offset, length);
        if (!IsUnsupported(errno))
            ThrowIfFailed("fallocate(PUNCH_HOLE)", errno);
    }

    /// <inheritdoc/>
    public void WriteZeroes(ulong offset, ulong length, bool mayUnmap)
    {
        if (length == 0)
            return;
        int errno = Libc.Allocate(_file, mayUnmap ? PunchHole : ZeroRange, offset, length);
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

    internal static bool IsUnsupported(int errno) => errno is Libc.EOPNOTSUPP or Libc.ENOSYS or Libc.EINVAL;

    private static void ThrowIfFailed(string operation, int errno)
    {
        if (errno != 0)
            throw new LinuxException(operation, errno);
    }

    /// <summary>Writes zeroes where the file system cannot make them.</summary>
    internal void WriteZeroesByHand(ulong offset, ulong length)
    {
        Span<byte> zeroes = BounceBuffer.OfThisThread;
        zeroes[..(int)Math.Min(length, BounceBuffer.Size)].Clear();
        while (length != 0)
        {
            int count = (int)Math.Min(length, BounceBuffer.Size);
            RandomAccess.Write(_file, zeroes[..count], (long)offset);
            offset += (uint)count;
            length -= (uint)count;
        }
    }

    /// <summary>Whether a read that brought less than was asked for has met the end of the file.</summary>
    internal bool IsEnd(ulong offset, uint read, uint asked) => VectoredFile.IsEnd(_file, offset, read, asked);

    /// <summary>Whether the kernel can move data between these buffers and the file without a copy.</summary>
    internal bool Suits(in GuestBuffers buffers) => !_isDirect || buffers.IsAligned(_memoryAlignment, RequestAlignment);

    private ulong ReadThroughBuffer(ulong offset, GuestBuffers destination)
    {
        Span<byte> buffer = BounceBuffer.OfThisThread;
        uint done = 0;
        while (destination.Length > 0)
        {
            Span<byte> asked = buffer[..(int)Math.Min(destination.Length, BounceBuffer.Size)];
            int read = RandomAccess.Read(_file, asked, (long)(offset + done));
            destination.CopyFrom(asked[..read]);
            destination = destination.Slice((uint)read);
            bool end = IsEnd(offset + done, (uint)read, (uint)asked.Length);
            done += (uint)read;
            if (end)
                break;
        }

        return done;
    }

    private void WriteThroughBuffer(ulong offset, GuestBuffers source)
    {
        Span<byte> buffer = BounceBuffer.OfThisThread;
        while (source.Length > 0)
        {
            int count = source.CopyTo(buffer);
            RandomAccess.Write(_file, buffer[..count], (long)offset);
            source = source.Slice((uint)count);
            offset += (uint)count;
        }
    }
}
