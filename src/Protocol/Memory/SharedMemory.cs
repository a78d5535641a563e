using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>The page size behind memory that <see cref="SharedMemory.CreateSealed"/> makes.</summary>
public enum HugePages
{
    /// <summary>Ordinary pages, given by the kernel on first touch.</summary>
    None,

    /// <summary>
    /// Pages of 2 MiB, reserved when the memory is made. A peer that has the descriptor can punch holes into such memory, which no seal forbids that leaves it writable, and use the pages elsewhere: whoever touches one of the
    /// holes then, here or there, is ended (SIGBUS). So for peers that are trusted.
    /// </summary>
    TwoMegabytes,
}

/// <summary>
/// A piece of memory that another process can map: one descriptor, one range of it, one address here.
/// </summary>
/// <remarks>
/// <para>Ownership: disposing gives up the creator's reference. The mapping and the descriptor go when the last
/// <see cref="GuestMemory"/> that contains them has gone too, so the order of disposal is free.</para>
/// <para>Threading: instances are immutable; all members may be used from any thread.</para>
/// <para>Residual risk: memory received from a peer may be backed by a file that the peer can truncate; touching a page that was cut off ends
/// the process (SIGBUS). Memory made by <see cref="CreateSealed"/>, of ordinary pages, cannot be taken away; a back-end may demand the same of its peers.</para>
/// </remarks>
public sealed class SharedMemory : IDisposable
{
    private const ulong TwoMegabytes = 2UL << 20;

    private SharedMemory(MappingHandle mapping, SafeFileHandle descriptor, ulong descriptorOffset, ulong length, nint address, ulong pageSize)
    {
        PageSize = pageSize;
        Mapping = mapping;
        Descriptor = descriptor;
        DescriptorOffset = descriptorOffset;
        Length = length;
        Address = address;
    }

    /// <summary>The descriptor that a peer maps. Borrowed: it is closed with this memory.</summary>
    public SafeFileHandle Descriptor { get; }

    /// <summary>Where this memory starts in <see cref="Descriptor"/>, in bytes.</summary>
    public ulong DescriptorOffset { get; }

    /// <summary>Length in bytes.</summary>
    public ulong Length { get; }

    /// <summary>Where the first byte is mapped in this process.</summary>
    internal nint Address { get; }

    internal MappingHandle Mapping { get; }

    /// <summary>Bytes of the pages of the file, a power of two.</summary>
    internal ulong PageSize { get; }

    /// <summary>Says what of this has arrived while it is still under way, and afterwards that this is over; null for all other memory.</summary>
    internal IncomingMemory? Incoming { get; set; }

    /// <summary>Makes anonymous memory that can neither shrink nor grow: a memfd with the seals SHRINK, GROW and SEAL.</summary>
    /// <param name="name">A name for <c>/proc/self/maps</c>; at most 249 bytes.</param>
    /// <param name="size">Bytes, greater than 0; rounded up to whole pages of the kind asked for.</param>
    /// <param name="hugePages">Whether to use huge pages.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="size"/> is 0 or above 2^62.</exception>
    /// <exception cref="LinuxException">The kernel refused, for example because no huge page is free; the message says what to do.</exception>
    public static SharedMemory CreateSealed(string name, ulong size, HugePages hugePages = HugePages.None)
    {
        SupportedHost.Require();
        ArgumentOutOfRangeException.ThrowIfZero(size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size, 1UL << 62);
        ulong page = hugePages == HugePages.TwoMegabytes ? TwoMegabytes : (ulong)Environment.SystemPageSize;
        ulong length = RoundUp(size, page);
        uint flags = Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING;
        if (hugePages == HugePages.TwoMegabytes)
        {
            flags |= Libc.MFD_HUGETLB | Libc.MFD_HUGE_2MB;
        }

        SafeFileHandle descriptor = Libc.memfd_create(name, flags);
        int error = Marshal.GetLastPInvokeError();
        if (descriptor.IsInvalid)
        {
            descriptor.Dispose();
            throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"memfd_create(\"{name}\", {length} bytes)"), error);
        }

        try
        {
            Resize(descriptor, length, name);
            SharedMemory memory = MapRange(descriptor, 0, length, page, hugePages);
            Seal(descriptor);
            return memory;
        }
        catch
        {
            descriptor.Dispose();
            throw;
        }
    }

    /// <summary>Makes or opens a file of the given size and maps it, for memory that outlives the process or lies in a hugetlbfs mount.</summary>
    /// <param name="path">The file; created when it does not exist, extended when it is shorter than <paramref name="size"/>.</param>
    /// <param name="size">Bytes, greater than 0; on hugetlbfs a multiple of its page size.</param>
    /// <exception cref="LinuxException">The kernel refused to extend or map the file.</exception>
    /// <exception cref="IOException">The file cannot be opened.</exception>
    public static SharedMemory CreateFileBacked(string path, ulong size)
    {
        SupportedHost.Require();
        ArgumentOutOfRangeException.ThrowIfZero(size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(size, 1UL << 62);
        SafeFileHandle descriptor = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        try
        {
            if ((ulong)RandomAccess.GetLength(descriptor) < size)
            {
                Resize(descriptor, size, path);
            }

            return MapRange(descriptor, 0, size, MappingGranularity(descriptor), HugePages.None);
        }
        catch
        {
            descriptor.Dispose();
            throw;
        }
    }

    /// <summary>Maps a range of a descriptor that a peer sent, after checking that the file really covers it.</summary>
    /// <param name="descriptor">Ownership passes to the memory, also when the call fails.</param>
    /// <param name="offset">First byte of the range in the file; need not be page-aligned.</param>
    /// <param name="length">Bytes, greater than 0.</param>
    /// <param name="requireSealed">Refuse a descriptor whose memory its owner could still take away: one that is not sealed against shrinking, or has huge pages.</param>
    /// <exception cref="VhostUserProtocolException">The range is empty, wraps, or is not covered by the file; or it is not sealed.</exception>
    /// <exception cref="LinuxException">The kernel refused the mapping.</exception>
    public static SharedMemory Map(SafeFileHandle descriptor, ulong offset, ulong length, bool requireSealed = false) =>
        MapFront(descriptor, offset, length, most: length, requireSealed);

    /// <summary>The same, for a range of which no more than the front is needed.</summary>
    internal static SharedMemory MapFront(SafeFileHandle descriptor, ulong offset, ulong length, ulong most, bool requireSealed)
    {
        SupportedHost.Require();
        try
        {
            if (requireSealed)
            {
                CheckSealed(descriptor);
            }

            CheckCovers(descriptor, offset, length);
            return MapRange(descriptor, offset, Math.Min(length, most), MappingGranularity(descriptor), HugePages.None);
        }
        catch
        {
            descriptor.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Describes memory that the caller has mapped already, such as a hypervisor's RAM. It is not mapped a second time and never unmapped.
    /// </summary>
    /// <param name="descriptor">What a peer maps. Ownership passes to the memory: hand in a duplicate when the original is needed elsewhere.</param>
    /// <param name="offset">Where the range starts in the descriptor, in bytes.</param>
    /// <param name="length">Bytes, greater than 0.</param>
    /// <param name="address">The caller's own address of the first byte. It must stay mapped until every <see cref="GuestMemory"/> that contains it is released.</param>
    /// <exception cref="ArgumentOutOfRangeException">An empty range or a null address.</exception>
    public static SharedMemory FromCallerOwned(SafeFileHandle descriptor, ulong offset, ulong length, nint address)
    {
        SupportedHost.Require();
        ArgumentNullException.ThrowIfNull(descriptor);
        ArgumentOutOfRangeException.ThrowIfZero(length);
        ArgumentOutOfRangeException.ThrowIfZero(address);
        return new SharedMemory(new MappingHandle(address, 0, descriptor), descriptor, offset, length, address, MappingGranularity(descriptor));
    }

    /// <summary>Gives up the creator's reference; the mapping ends with the last table that contains it.</summary>
    public void Dispose() => Mapping.Dispose();

    private static void CheckCovers(SafeFileHandle descriptor, ulong offset, ulong length)
    {
        if (length == 0)
        {
            throw new VhostUserProtocolException(VhostUserViolation.MemoryRegionInvalid, "memory region: size 0, must be at least 1 byte");
        }

        ulong end = offset + length;
        if (end < offset || end > long.MaxValue)
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.MemoryRegionInvalid,
                string.Create(CultureInfo.InvariantCulture, $"memory region: mmap offset 0x{offset:x} + size 0x{length:x} exceeds the range of a file"));
        }

        ulong available = MappableLength(descriptor);
        if (end > available)
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.BadDescriptor,
                string.Create(CultureInfo.InvariantCulture, $"memory region: descriptor has 0x{available:x} bytes, mmap offset 0x{offset:x} + size 0x{length:x} needs 0x{end:x}"));
        }
    }

    private static ulong MappableLength(SafeFileHandle descriptor)
    {
        FileKind kind = DescriptorInfo.Kind(descriptor);
        return kind == FileKind.Regular
            ? DescriptorInfo.FileSize(descriptor)
            : throw new VhostUserProtocolException(VhostUserViolation.BadDescriptor, $"memory region: the descriptor is not a file that can be mapped ({kind})");
    }

    private static void CheckSealed(SafeFileHandle descriptor)
    {
        int seals = Libc.fcntl_seals(descriptor, Libc.F_GET_SEALS, 0);
        if (seals < 0 || (seals & Libc.F_SEAL_SHRINK) == 0)
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.BadDescriptor,
                "memory region: the descriptor is not sealed against shrinking (F_SEAL_SHRINK), which this side requires");
        }

        // A hole gives an ordinary page back, and the next touch takes another one. Of huge pages there need be no other one, and the touch is a SIGBUS.
        if (MappingGranularity(descriptor) is var granularity && granularity > (ulong)Environment.SystemPageSize)
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.BadDescriptor,
                string.Create(CultureInfo.InvariantCulture, $"memory region: the descriptor has pages of 0x{granularity:x} bytes, which cannot be sealed against holes; this side requires memory that stays"));
        }
    }

    private static void Resize(SafeFileHandle descriptor, ulong length, string what)
    {
        if (Libc.ftruncate(descriptor, checked((long)length)) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            throw new LinuxException(string.Create(CultureInfo.InvariantCulture, $"ftruncate({what}, {length} bytes)"), error);
        }
    }

    private static void Seal(SafeFileHandle descriptor)
    {
        if (Libc.fcntl_seals(descriptor, Libc.F_ADD_SEALS, Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW | Libc.F_SEAL_SEAL) != 0)
        {
            int error = Marshal.GetLastPInvokeError();
            throw new LinuxException("fcntl(F_ADD_SEALS)", error);
        }
    }

    /// <summary>
    /// Maps whole granules around the range. Huge-page files refuse other offsets, and munmap must be given exactly what mmap was.
    /// </summary>
    private static SharedMemory MapRange(SafeFileHandle descriptor, ulong offset, ulong length, ulong granularity, HugePages hugePages)
    {
        ulong start = offset / granularity * granularity;
        ulong lead = offset - start;
        nuint mapped = checked((nuint)RoundUp(checked(lead + length), granularity));
        nint address = Libc.mmap(0, mapped, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED, descriptor, checked((long)start));
        int error = Marshal.GetLastPInvokeError();
        if (address == Libc.MAP_FAILED)
        {
            throw new LinuxException(DescribeMapFailure(start, mapped, hugePages), error);
        }

        // Guest memory does not belong into a core dump of this process.
        _ = Libc.madvise(address, mapped, Libc.MADV_DONTDUMP);
        MappingHandle mapping = new(address, mapped, descriptor);
        return new SharedMemory(mapping, descriptor, offset, length, address + (nint)lead, granularity);
    }

    /// <summary>The same range at a second address. The caller ends it before this goes.</summary>
    /// <param name="start">Where the page is that has the first byte.</param>
    internal MappingHandle MapAgain(out nint start)
    {
        ulong offset = DescriptorOffset / PageSize * PageSize;
        ulong mapped = RoundUp(checked(DescriptorOffset - offset + Length), PageSize);
        MappingHandle again = MappingHandle.Map(Descriptor, offset, mapped, out start);
        _ = Libc.madvise(start, (nuint)mapped, Libc.MADV_DONTDUMP);
        _ = Libc.madvise(start, (nuint)mapped, Libc.MADV_NOHUGEPAGE); // one that is made of small pages would arrive as a whole
        return again;
    }

    private static string DescribeMapFailure(ulong start, nuint mapped, HugePages hugePages)
    {
        string call = string.Create(CultureInfo.InvariantCulture, $"mmap(offset 0x{start:x}, {mapped} bytes)");
        return hugePages == HugePages.None
            ? call
            : string.Create(
                CultureInfo.InvariantCulture,
                $"{call} with 2 MiB pages: {mapped / TwoMegabytes} are needed; see HugePages_Free in /proc/meminfo and reserve some with vm.nr_hugepages");
    }

    /// <summary>The page size of huge-page files. Only files that can have seals are asked further: another file system may never answer.</summary>
    // Safety: fstatfs writes at most sizeof(struct statfs) = 120 bytes; Statfs has 256.
    internal static unsafe ulong MappingGranularity(SafeHandle descriptor)
    {
        Libc.Statfs status = default;
        bool huge = Libc.fcntl_seals(descriptor, Libc.F_GET_SEALS, 0) >= 0
            && Libc.fstatfs(descriptor, &status) == 0 && status.f_type == Libc.HUGETLBFS_MAGIC && status.f_bsize > 0;
        return huge ? (ulong)status.f_bsize : (ulong)Environment.SystemPageSize;
    }

    private static ulong RoundUp(ulong value, ulong multiple) => checked(value + (multiple - 1)) / multiple * multiple;
}
