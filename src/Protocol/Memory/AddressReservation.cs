using System.Globalization;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// A range of addresses of this process in which files are mapped one after the other, and never anything else: what is not mapped cannot be touched. Not thread-safe.
/// </summary>
/// <remarks>Disposing gives the range back to the process, with all that is mapped in it.</remarks>
internal sealed class AddressReservation : SafeHandle
{
    private readonly nuint _length;

    private AddressReservation(nint address, nuint length)
        : base(invalidHandleValue: 0, ownsHandle: true)
    {
        _length = length;
        SetHandle(address);
    }

    public override bool IsInvalid => handle == 0;

    /// <summary>The first address.</summary>
    internal nint Address => handle;

    /// <summary>Reserves addresses; no memory is used.</summary>
    /// <param name="length">Bytes, a multiple of the page size and not 0.</param>
    /// <exception cref="LinuxException">The process has no range as long.</exception>
    internal static AddressReservation Reserve(ulong length)
    {
        nint address = Libc.mmap(0, checked((nuint)length), Libc.PROT_NONE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE, -1, 0);
        int error = Marshal.GetLastPInvokeError();
        return address == Libc.MAP_FAILED
            ? throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"mmap({length} bytes, no access)"), error)
            : new AddressReservation(address, (nuint)length);
    }

    /// <summary>Maps a part of a file over what is there.</summary>
    /// <param name="offset">Where in the range.</param>
    /// <param name="file">The file; it may be closed afterwards.</param>
    /// <param name="fileOffset">Where in the file.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="writable">Whether it may be written to.</param>
    /// <exception cref="LinuxException">The kernel refused; the range is as it was.</exception>
    internal void Map(ulong offset, SafeHandle file, ulong fileOffset, ulong length, bool writable)
    {
        nint at = At(offset, length);
        int protection = writable ? Libc.PROT_READ | Libc.PROT_WRITE : Libc.PROT_READ;

        // Kernels before 6.12 take away what lies there before the file is asked whether it can be mapped; other memory of the process could come into the gap. So it is asked beforehand, elsewhere.
        nint trial = MapFile(0, file, fileOffset, length, protection, Libc.MAP_SHARED);
        _ = Libc.munmap(trial, (nuint)length);
        try
        {
            MapFile(at, file, fileOffset, length, protection, Libc.MAP_SHARED | Libc.MAP_FIXED);
        }
        catch (LinuxException)
        {
            _ = Libc.mmap(at, (nuint)length, Libc.PROT_NONE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE | Libc.MAP_FIXED_NOREPLACE, -1, 0);
            throw;
        }
    }

    /// <summary>What is mapped there cannot be touched any more.</summary>
    /// <param name="offset">Where in the range.</param>
    /// <param name="length">Bytes.</param>
    /// <exception cref="LinuxException">The kernel refused: too many mappings in this process.</exception>
    internal void Clear(ulong offset, ulong length)
    {
        nint at = At(offset, length);
        int flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE | Libc.MAP_FIXED;
        if (Libc.mmap(at, (nuint)length, Libc.PROT_NONE, flags, -1, 0) == Libc.MAP_FAILED)
        {
            int error = Marshal.GetLastPInvokeError();
            throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"mmap({length} bytes, no access)"), error);
        }
    }

    private static nint MapFile(nint at, SafeHandle file, ulong fileOffset, ulong length, int protection, int flags)
    {
        nint address = Libc.mmap(at, (nuint)length, protection, flags, file, checked((long)fileOffset));
        int error = Marshal.GetLastPInvokeError();
        return address == Libc.MAP_FAILED
            ? throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"mmap(offset 0x{fileOffset:x}, {length} bytes)"), error)
            : address;
    }

    protected override bool ReleaseHandle() => Libc.munmap(handle, _length) == 0;

    /// <summary>MAP_FIXED replaces whatever lies there, so it never goes outside.</summary>
    private nint At(ulong offset, ulong length)
    {
        ObjectDisposedException.ThrowIf(IsClosed, this);
        if (length == 0 || offset > _length || length > _length - offset)
            throw new ArgumentOutOfRangeException(nameof(offset), offset, string.Create(CultureInfo.InvariantCulture, $"{length} bytes there are not inside the {_length} bytes."));
        return handle + (nint)offset;
    }
}
