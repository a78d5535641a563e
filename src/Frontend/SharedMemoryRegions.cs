using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The shared memory regions of a device (SHMEM): ranges of addresses here, into which the back-end maps files. A hypervisor gives each range to its guest as a whole, once; what is mapped in it changes later.
/// </summary>
/// <remarks>
/// <para>
/// What is not mapped cannot be touched: a guest that does gets the error of its hypervisor. All mappings end when the device is reset and with the session; the ranges stay until <see cref="Dispose"/>, so that no guest is left
/// with addresses that belong to somebody else.
/// </para>
/// <para>A back-end that shortens a file that is mapped makes its pages unusable (SIGBUS for this process, if it touches them itself). One that maps a file of a file system of its own (FUSE) can stop the whole process, which
/// waits for that file system when the mapping ends: <see cref="VhostUserFrontendOptions.RequireMemoryFiles"/> refuses such files.</para>
/// </remarks>
public sealed class SharedMemoryRegions : IDisposable
{
    /// <summary>Most mappings of one device at the same time; each may take two mappings of the process, of which there are 65530: its own, and the range that is left behind it.</summary>
    public const int MostMappings = 1024;

    private readonly Lock _gate = new();
    private readonly SortedList<ulong, ulong>[] _mapped = new SortedList<ulong, ulong>[VhostUserShmemConfig.MaxRegions];
    private readonly AddressReservation?[] _ranges = new AddressReservation?[VhostUserShmemConfig.MaxRegions];
    private readonly ulong[] _sizes;
    private readonly bool _requireMemory;
    private int _count;
    private bool _closed;
    private bool _disposed;

    /// <param name="sizes">What the back-end answered; checked.</param>
    /// <param name="requireMemory">Only files that are memory are mapped.</param>
    internal SharedMemoryRegions(ulong[] sizes, bool requireMemory = false)
    {
        (_sizes, _requireMemory) = (sizes, requireMemory);
        try
        {
            for (int id = 0; id < sizes.Length; id++)
            {
                _mapped[id] = [];
                if (sizes[id] != 0)
                    _ranges[id] = AddressReservation.Reserve(sizes[id]);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Identifiers of the regions that there are, ascending.</summary>
    public IReadOnlyList<byte> Ids => [.. Enumerable.Range(0, _sizes.Length).Where(id => _sizes[id] != 0).Select(id => (byte)id)];

    /// <summary>Mappings at present.</summary>
    public int MappingCount
    {
        get
        {
            lock (_gate)
                return _count;
        }
    }

    /// <summary>Bytes of a region; 0: there is none with that identifier.</summary>
    /// <param name="id">The region.</param>
    public ulong SizeOf(byte id) => _sizes[id];

    /// <summary>Where a region lies in this process.</summary>
    /// <param name="id">The region.</param>
    /// <returns>The address of its first byte, good until <see cref="Dispose"/>.</returns>
    /// <exception cref="ArgumentException">There is no region with that identifier.</exception>
    /// <exception cref="ObjectDisposedException">The ranges were given back.</exception>
    public nint AddressOf(byte id)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return _ranges[id]?.Address ?? throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"The device has no shared memory region {id}."), nameof(id));
    }

    /// <summary>Ends all mappings and gives the addresses back: no guest may use them any more.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            foreach (AddressReservation? range in _ranges)
                range?.Dispose();
            foreach (SortedList<ulong, ulong>? mapped in _mapped)
                mapped?.Clear();
            _count = 0;
        }
    }

    /// <summary>Takes ownership of <paramref name="descriptor"/>. Null: mapped; else why not.</summary>
    internal string? TryMap(in VhostUserShmemMap said, SafeFileHandle descriptor)
    {
        using (descriptor)
        {
            lock (_gate)
            {
                if ((WhyNotThere(said) ?? WhyNotFrom(said, descriptor)) is { } problem)
                    return problem;
                try
                {
                    _ranges[said.RegionId]!.Map(said.RegionOffset, descriptor, said.FileOffset, said.Length, said.Flags == VhostUserShmemMapFlags.ReadWrite);
                }
                catch (Exception e) when (e is LinuxException or VhostUserProtocolException)
                {
                    return e.Message;
                }

                _mapped[said.RegionId].Add(said.RegionOffset, said.Length);
                _count++;
                return null;
            }
        }
    }

    /// <summary>Null: unmapped; else why not.</summary>
    internal string? TryUnmap(in VhostUserShmemMap said)
    {
        lock (_gate)
        {
            if (_disposed || !_mapped[said.RegionId].TryGetValue(said.RegionOffset, out ulong length) || length != said.Length)
                return string.Create(CultureInfo.InvariantCulture, $"0x{said.Length:x} bytes at 0x{said.RegionOffset:x} of region {said.RegionId} are not exactly one mapping");
            if (WhyNotCleared(said.RegionId, said.RegionOffset, length) is { } problem)
                return problem;
            _mapped[said.RegionId].Remove(said.RegionOffset);
            _count--;
            return null;
        }
    }

    /// <summary>The device was reset. What cannot be unmapped stays, and takes no other mapping.</summary>
    /// <returns>Null: all is unmapped; else what is not, and why.</returns>
    internal string? UnmapAll()
    {
        lock (_gate)
        {
            string? problem = null;
            for (int id = 0; id < _sizes.Length && !_disposed; id++)
            {
                if (_mapped[id].Count == 0)
                    continue;
                if (WhyNotCleared(id, 0, _sizes[id]) is { } why)
                {
                    problem = why;
                    continue;
                }

                _count -= _mapped[id].Count;
                _mapped[id].Clear();
            }

            return problem;
        }
    }

    /// <summary>The session has ended: nothing is mapped any more, and nothing will be.</summary>
    /// <returns>As <see cref="UnmapAll"/>.</returns>
    internal string? Close()
    {
        lock (_gate)
        {
            _closed = true;
            return UnmapAll();
        }
    }

    private string? WhyNotCleared(int id, ulong offset, ulong length)
    {
        try
        {
            _ranges[id]!.Clear(offset, length);
            return null;
        }
        catch (LinuxException e)
        {
            return string.Create(CultureInfo.InvariantCulture, $"region {id}: 0x{length:x} bytes at 0x{offset:x} stay mapped: {e.Message}");
        }
    }

    private string? WhyNotThere(in VhostUserShmemMap said)
    {
        ulong size = _sizes[said.RegionId];
        ulong page = (ulong)Environment.SystemPageSize;
        if (_closed)
            return "the session has ended";
        if (_disposed || size == 0)
            return string.Create(CultureInfo.InvariantCulture, $"there is no region {said.RegionId}");
        if (said.Length == 0 || said.Length % page != 0 || said.RegionOffset % page != 0 || said.FileOffset % page != 0)
            return string.Create(CultureInfo.InvariantCulture, $"0x{said.Length:x} bytes at 0x{said.RegionOffset:x}, from 0x{said.FileOffset:x} of the file, are not whole pages of {page} bytes");
        if (said.RegionOffset > size || said.Length > size - said.RegionOffset)
            return string.Create(CultureInfo.InvariantCulture, $"0x{said.Length:x} bytes at 0x{said.RegionOffset:x} are not inside the 0x{size:x} bytes of region {said.RegionId}");
        if ((said.Flags & ~VhostUserShmemMapFlags.ReadWrite) != 0)
            return string.Create(CultureInfo.InvariantCulture, $"unknown flags 0x{(ulong)said.Flags:x}, only 0x1 (writable) is defined");
        if (_count == MostMappings)
            return string.Create(CultureInfo.InvariantCulture, $"there are {MostMappings} mappings already, the most allowed");
        ulong from = said.RegionOffset, to = from + said.Length;
        return _mapped[said.RegionId].Any(other => other.Key < to && from < other.Key + other.Value)
            ? string.Create(CultureInfo.InvariantCulture, $"a part of 0x{said.Length:x} bytes at 0x{said.RegionOffset:x} of region {said.RegionId} is mapped already")
            : null;
    }

    /// <summary>A page beyond the end of a file would end whoever touches it. A dma-buf, which is none of any file system, has a size too.</summary>
    private string? WhyNotFrom(in VhostUserShmemMap said, SafeFileHandle descriptor)
    {
        FileKind kind = DescriptorInfo.Kind(descriptor);
        if (kind is not (FileKind.Regular or FileKind.Anonymous))
            return $"the descriptor is not a file that can be mapped ({kind})";
        if (_requireMemory && !DescriptorInfo.IsMemory(descriptor))
            return "the descriptor is not memory (memfd, tmpfs, hugetlbfs, dma-buf), which this side requires";
        ulong available = DescriptorInfo.FileSize(descriptor);
        return said.FileOffset > available || said.Length > available - said.FileOffset
            ? string.Create(CultureInfo.InvariantCulture, $"0x{said.Length:x} bytes from 0x{said.FileOffset:x} are more than the 0x{available:x} bytes of the file")
            : null;
    }
}
