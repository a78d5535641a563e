using System.Globalization;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// A range of addresses of this process in which files are mapped one after the other, and never anything else: what is not mapped cannot be touched. Not thread-safe.
/// </summary>
/// <remarks>Disposing gives the range back to the process, with all that is mapped in it.</remarks>
internal sealed class AddressReservation : SafeHandle
{
    private const nuint HugePage = 2 << 20;

    private static int _live;

    private readonly nuint _length;
    private readonly nuint _reserved;

    private AddressReservation(nint reservedFrom, nuint reserved, nint address, nuint length)
        : base(invalidHandleValue: 0, ownsHandle: true)
    {
        (_reserved, Address, _length) = (reserved, address, length);
        SetHandle(reservedFrom);
        Interlocked.Increment(ref _live);
    }

    public override bool IsInvalid => handle == 0;

    /// <summary>How many the process has. In its list of mappings they cannot be told from what the runtime reserves.</summary>
    internal static int Live => Volatile.Read(ref _live);

    /// <summary>The first address.</summary>
    internal nint Address { get; }

    /// <summary>Reserves addresses; no memory is used. Where huge pages fit into the range it begins where one of 2 MiB may begin.</summary>
    /// <param name="length">Bytes, a multiple of the page size and not 0.</param>
    /// <exception cref="LinuxException">The process has no range as long.</exception>
    internal static AddressReservation Reserve(ulong length)
    {
        // Addresses cost nothing: what is too much before the boundary and behind the end stays reserved and unused.
        nuint spare = length >= HugePage && length <= nuint.MaxValue - HugePage ? HugePage : 0;
        nuint reserved = (nuint)length + spare;
        nint address = Libc.mmap(0, reserved, Libc.PROT_NONE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE, -1, 0);
        int error = Marshal.GetLastPInvokeError();
        return address == Libc.MAP_FAILED
            ? throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"mmap({length} bytes, no access)"), error)
            : new AddressReservation(address, reserved, spare == 0 ? address : NextHugePage(address), (nuint)length);
    }

    /// <summary>Maps a part of a file over what is there.</summary>
    /// <param name="offset">Where in the range.</param>
    /// <param name="file">The file; it may be closed afterwards.</param>
    /// <param name="fileOffset">Where in the file.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="writable">Whether it may be written to.</param>
    /// <exception cref="VhostUserProtocolException">The file has huge pages, of which this is not a whole number: the kernel would map more than it was asked for.</exception>
    /// <exception cref="LinuxException">The kernel refused; the range is as it was.</exception>
    internal void Map(ulong offset, SafeHandle file, ulong fileOffset, ulong length, bool writable)
    {
        nint at = At(offset, length);
        RequireWholePages(at, file, fileOffset, length);
        int protection = writable ? Libc.PROT_READ | Libc.PROT_WRITE : Libc.PROT_READ;

        // Kernels before 6.12 take away what lies there before the file is asked whether it can be mapped; other memory of the process could come into the gap. So it is asked beforehand, elsewhere.
        nint trial = MapFile(0, file, fileOffset, length, protection, Libc.MAP_SHARED);
        Unmap(trial, (nuint)length);
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

    private static nint NextHugePage(nint address) => (nint)(((nuint)address + (HugePage - 1)) & ~(HugePage - 1));

    private static void RequireWholePages(nint at, SafeHandle file, ulong fileOffset, ulong length)
    {
        ulong granularity = SharedMemory.MappingGranularity(file);
        if (((ulong)at | fileOffset | length) % granularity == 0)
            return;
        throw new VhostUserProtocolException(
            VhostUserViolation.BadDescriptor,
            string.Create(CultureInfo.InvariantCulture, $"0x{length:x} bytes from 0x{fileOffset:x} of the file, at address 0x{at:x}, are not whole pages of 0x{granularity:x} bytes, of which the file consists"));
    }

    private static void Unmap(nint address, nuint length)
    {
        if (Libc.munmap(address, length) == 0)
            return;
        int error = Marshal.GetLastPInvokeError();
        throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"munmap({length} bytes)"), error);
    }

    private static nint MapFile(nint at, SafeHandle file, ulong fileOffset, ulong length, int protection, int flags)
    {
        nint address = Libc.mmap(at, (nuint)length, protection, flags, file, checked((long)fileOffset));
        int error = Marshal.GetLastPInvokeError();
        return address == Libc.MAP_FAILED
            ? throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"mmap(offset 0x{fileOffset:x}, {length} bytes)"), error)
            : address;
    }

    protected override bool ReleaseHandle()
    {
        Interlocked.Decrement(ref _live);
        return Libc.munmap(handle, _reserved) == 0;
    }

    /// <summary>MAP_FIXED replaces whatever lies there, so it never goes outside.</summary>
    private nint At(ulong offset, ulong length)
    {
        ObjectDisposedException.ThrowIf(IsClosed, this);
        if (length == 0 || offset > _length || length > _length - offset)
            throw new ArgumentOutOfRangeException(nameof(offset), offset, string.Create(CultureInfo.InvariantCulture, $"{length} bytes there are not inside the {_length} bytes."));
        return Address + (nint)offset;
    }
}
