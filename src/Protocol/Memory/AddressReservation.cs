using System.Globalization;
using System.Runtime.InteropServices;

namespace Vhost.Protocol;

/// <summary>
/// A range of addresses of this process in which files are mapped one after the other, and never anything else: what is not mapped cannot be touched. Not thread-safe.
/// </summary>
/// <remarks>
/// Disposing gives the range back to the process, with all that is mapped in it. Addresses that the range has lost to other memory of the process are never touched again, nor given back.
/// </remarks>
internal sealed class AddressReservation : SafeHandle
{
    private const nuint HugePage = 2 << 20;
    private const int Unused = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE;

    private static int _live;

    private readonly nuint _length;
    private readonly nuint _reserved;
    private readonly List<(nint From, nuint Length)> _lost = [];

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

    /// <summary>For tests: called with the addresses instead of the kernel, which then has refused to move a mapping there.</summary>
    internal Action<nint, nuint>? Refusal { get; set; }

    /// <summary>Reserves addresses; no memory is used. Where huge pages fit into the range it begins where one of 2 MiB may begin.</summary>
    /// <param name="length">Bytes, a multiple of the page size and not 0.</param>
    /// <exception cref="LinuxException">The process has no range as long.</exception>
    internal static AddressReservation Reserve(ulong length)
    {
        // Addresses cost nothing: what is too much before the boundary and behind the end stays reserved and unused.
        nuint spare = length >= HugePage && length <= nuint.MaxValue - HugePage ? HugePage : 0;
        nuint reserved = (nuint)length + spare;
        nint address = Libc.mmap(0, reserved, Libc.PROT_NONE, Unused, -1, 0);
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
    /// <exception cref="LinuxException">The kernel refused, and nothing is mapped there; or the range has lost addresses there.</exception>
    internal void Map(ulong offset, SafeHandle file, ulong fileOffset, ulong length, bool writable)
    {
        nint at = At(offset, length);
        bool isHuge = RequireWholePages(at, file, fileOffset, length);
        RequireOurs(at, (nuint)length);
        int protection = writable ? Libc.PROT_READ | Libc.PROT_WRITE : Libc.PROT_READ;

        // mmap over what is there takes it away before it asks the file, whose owner may let it refuse at any time. So the file is asked elsewhere, once, and what it gave is moved.
        nint made = Libc.mmap(0, (nuint)length, protection, Libc.MAP_SHARED, file, checked((long)fileOffset));
        int error = Marshal.GetLastPInvokeError();
        if (made == Libc.MAP_FAILED)
            throw Failed("mmap", fileOffset, length, error);
        if (TryMove(made, at, (nuint)length, out error))
            return;
        _ = Libc.munmap(made, (nuint)length);
        if (!isHuge || error != Libc.EINVAL)
            throw Failed("mremap", fileOffset, length, error);
        MapOver(at, file, fileOffset, (nuint)length, protection);
    }

    /// <summary>What is mapped there cannot be touched any more.</summary>
    /// <param name="offset">Where in the range.</param>
    /// <param name="length">Bytes.</param>
    /// <exception cref="LinuxException">The kernel refused: too many mappings in this process.</exception>
    internal void Clear(ulong offset, ulong length)
    {
        foreach ((nint from, nuint bytes) in Ours(At(offset, length), (nuint)length))
        {
            if (Libc.mmap(from, bytes, Libc.PROT_NONE, Unused | Libc.MAP_FIXED, -1, 0) != Libc.MAP_FAILED)
                continue;
            int error = Marshal.GetLastPInvokeError();
            if (!TryFill(from, bytes))
                throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"mmap({bytes} bytes, no access)"), error);
        }
    }

    private static nint NextHugePage(nint address) => (nint)(((nuint)address + (HugePage - 1)) & ~(HugePage - 1));

    /// <returns>Whether the file has huge pages.</returns>
    private static bool RequireWholePages(nint at, SafeHandle file, ulong fileOffset, ulong length)
    {
        ulong granularity = SharedMemory.MappingGranularity(file);
        if (((ulong)at | fileOffset | length) % granularity == 0)
            return granularity > (ulong)Environment.SystemPageSize;
        throw new VhostUserProtocolException(
            VhostUserViolation.BadDescriptor,
            string.Create(CultureInfo.InvariantCulture, $"0x{length:x} bytes from 0x{fileOffset:x} of the file, at address 0x{at:x}, are not whole pages of 0x{granularity:x} bytes, of which the file consists"));
    }

    /// <summary>Fills a gap, if there is one: nothing else is replaced.</summary>
    private static bool TryFill(nint at, nuint length)
    {
        nint filled = Libc.mmap(at, length, Libc.PROT_NONE, Unused | Libc.MAP_FIXED_NOREPLACE, -1, 0);
        if (filled == at)
            return true;
        if (filled != Libc.MAP_FAILED)
            _ = Libc.munmap(filled, length); // a kernel that does not know the flag takes the address for a wish
        return false;
    }

    private static LinuxException Failed(string call, ulong fileOffset, ulong length, int error) =>
        new(string.Create(CultureInfo.InvariantCulture, $"{call}(offset 0x{fileOffset:x}, {length} bytes)"), error);

    protected override bool ReleaseHandle()
    {
        Interlocked.Decrement(ref _live);
        bool released = true;
        foreach ((nint from, nuint length) in Ours(handle, _reserved))
            released &= Libc.munmap(from, length) == 0;
        return released;
    }

    /// <summary>Puts a mapping in the place of what lies there. When that fails the addresses are reserved again, or lost for good.</summary>
    private bool TryMove(nint made, nint at, nuint length, out int error)
    {
        if (Refusal is { } refuse)
        {
            refuse(at, length);
            error = Libc.ENOMEM;
        }
        else if (Libc.mremap(made, length, length, Libc.MREMAP_MAYMOVE | Libc.MREMAP_FIXED, at) == at)
        {
            error = 0;
            return true;
        }
        else
        {
            error = Marshal.GetLastPInvokeError();
        }

        CloseGap(at, length);
        return false;
    }

    /// <summary>Before Linux 5.16 huge pages are not moved. The owner of the file can let this fail, and has gained nothing then.</summary>
    private void MapOver(nint at, SafeHandle file, ulong fileOffset, nuint length, int protection)
    {
        RequireOurs(at, length);
        if (Libc.mmap(at, length, protection, Libc.MAP_SHARED | Libc.MAP_FIXED, file, checked((long)fileOffset)) == at)
            return;
        int error = Marshal.GetLastPInvokeError();
        CloseGap(at, length);
        throw Failed("mmap", fileOffset, length, error);
    }

    /// <summary>
    /// The kernel may have left a gap: it is filled before anybody else maps something there. If somebody has, or the kernel had refused before it took anything away, which cannot be told apart, the addresses are ours no more.
    /// </summary>
    private void CloseGap(nint at, nuint length)
    {
        if (!TryFill(at, length))
            _lost.Add((at, length));
    }

    private void RequireOurs(nint at, nuint length)
    {
        if (_lost.Exists(lost => lost.From < at + (nint)length && at < lost.From + (nint)lost.Length))
            throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"mmap({length} bytes at 0x{at:x}, of which the range has lost a part)"), Libc.EEXIST);
    }

    /// <summary>What the range has not lost of a part of it, in order.</summary>
    private IEnumerable<(nint From, nuint Length)> Ours(nint from, nuint length)
    {
        nint end = from + (nint)length;
        foreach ((nint lost, nuint bytes) in _lost.OrderBy(static lost => lost.From))
        {
            if (lost >= end || lost + (nint)bytes <= from)
                continue;
            if (lost > from)
                yield return (from, (nuint)(lost - from));
            from = lost + (nint)bytes;
        }

        if (from < end)
            yield return (from, (nuint)(end - from));
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
