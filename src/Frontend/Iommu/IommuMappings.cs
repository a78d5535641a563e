using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>An IOMMU for emulators and tests: a list of mappings that its owner adds to and takes from, for one device or several that see the same addresses.</summary>
/// <remarks>Threading: all members may be used from any thread.</remarks>
public sealed class IommuMappings : IVirtioIommu
{
    /// <summary>Bytes of a page: mappings begin and end at multiples.</summary>
    public const ulong PageSize = 4096;

    private readonly Lock _gate = new();
    private readonly SortedList<ulong, IommuTranslation> _mappings = [];
    private readonly HashSet<VhostUserFrontend> _devices = [];
    private long _lookups;
    private long _faults;
    private long _failures;

    /// <summary>The most bytes that one answer covers, a multiple of <see cref="PageSize"/>: with 4096 a device asks for each page, as with most IOMMUs. Default: <see cref="ulong.MaxValue"/>, no limit.</summary>
    /// <exception cref="ArgumentOutOfRangeException">0, or no multiple of <see cref="PageSize"/>.</exception>
    public ulong LargestTranslation
    {
        get;
        init => field = value != 0 && (value % PageSize == 0 || value == ulong.MaxValue)
            ? value
            : throw new ArgumentOutOfRangeException(nameof(value), value, Invariant($"Must be a multiple of {PageSize}, at least one page, or {ulong.MaxValue} for no limit."));
    } = ulong.MaxValue;

    /// <summary>How often a device has asked.</summary>
    public long Lookups => Volatile.Read(ref _lookups);

    /// <summary>How often there was nothing to answer: not mapped, or not for that.</summary>
    public long Faults => Volatile.Read(ref _faults);

    /// <summary>How often a device has reported that an access was refused to it.</summary>
    public long AccessFailures => Volatile.Read(ref _failures);

    /// <summary>Mappings there are.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
                return _mappings.Count;
        }
    }

    /// <summary>Lets devices reach a piece of guest memory.</summary>
    /// <param name="address">First I/O virtual address, a multiple of <see cref="PageSize"/>.</param>
    /// <param name="guestAddress">Where it leads, a multiple of <see cref="PageSize"/>.</param>
    /// <param name="size">Bytes, a multiple of <see cref="PageSize"/>, at least one page.</param>
    /// <param name="permission">What devices may do there.</param>
    /// <exception cref="ArgumentException">Misaligned, empty, past 2^64, without any permission, or overlapping a mapping that is there.</exception>
    public void Map(IoVirtualAddress address, GuestAddress guestAddress, ulong size, VhostUserIotlbPermission permission = VhostUserIotlbPermission.ReadWrite)
    {
        RequireRange(address, size);
        if (guestAddress.Value % PageSize != 0 || size - 1 > ulong.MaxValue - guestAddress.Value)
            throw new ArgumentException(Invariant($"guest address {guestAddress} with size 0x{size:x}: must be a multiple of {PageSize} and not pass 2^64"), nameof(guestAddress));
        if (permission is VhostUserIotlbPermission.None or > VhostUserIotlbPermission.ReadWrite)
            throw new ArgumentException(Invariant($"permission {(byte)permission}: must be 1 (read), 2 (write) or 3 (both)"), nameof(permission));
        lock (_gate)
        {
            if (FirstFrom(address.Value) is var at && at < _mappings.Count && _mappings.Values[at].Address.Value - address.Value < size)
                throw new ArgumentException(Invariant($"I/O virtual address {address} with size 0x{size:x} overlaps the mapping at {_mappings.Values[at].Address}"), nameof(address));
            if (Find(address.Value) is { } before)
                throw new ArgumentException(Invariant($"I/O virtual address {address} lies in the mapping at {before.Address}"), nameof(address));
            _mappings.Add(address.Value, new IommuTranslation(address, guestAddress, size, permission));
        }
    }

    /// <summary>Takes all mappings of a range away, and completes when no device uses the memory behind them any more.</summary>
    /// <param name="address">First I/O virtual address, a multiple of <see cref="PageSize"/>.</param>
    /// <param name="size">Bytes, a multiple of <see cref="PageSize"/>. What is not mapped in the range is no error.</param>
    /// <param name="cancellationToken">Ends the wait alone: the mappings are gone and are withdrawn from the devices, which may use the memory until then.</param>
    /// <exception cref="ArgumentException">A mapping is only in part inside the range; nothing was taken away.</exception>
    /// <exception cref="VhostUserException">A device refused, or its session has ended on this side, and it may still use the memory. The mappings are gone all the same; once the process of such a device has ended,
    /// <see cref="Detach"/> it, and call again.</exception>
    public async ValueTask UnmapAsync(IoVirtualAddress address, ulong size, CancellationToken cancellationToken = default)
    {
        RequireRange(address, size);
        await WithdrawAsync(address, size, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public IommuTranslation? Translate(IoVirtualAddress address, VhostUserIotlbPermission access)
    {
        Interlocked.Increment(ref _lookups);
        lock (_gate)
        {
            if (Find(address.Value) is { } mapping && (mapping.Permission & access) == access)
                return Part(mapping, address.Value);
        }

        Interlocked.Increment(ref _faults);
        return null;
    }

    /// <inheritdoc/>
    public void Attach(VhostUserFrontend device)
    {
        lock (_gate)
            _devices.Add(device);
    }

    /// <inheritdoc/>
    public void Detach(VhostUserFrontend device)
    {
        lock (_gate)
            _devices.Remove(device);
    }

    /// <inheritdoc/>
    public void AccessFailed(VhostUserFrontend device, IoVirtualAddress address, VhostUserIotlbPermission access) => Interlocked.Increment(ref _failures);

    /// <summary>Maps memory to I/O virtual addresses that are its guest addresses, for a driver of ours that uses all of it.</summary>
    internal void MapAll(GuestMemory memory)
    {
        foreach (GuestMemoryRegion region in memory.Regions)
            Map(new IoVirtualAddress(region.GuestAddress.Value), region.GuestAddress, region.Size);
    }

    /// <summary>The driver ends. That a device of others does not let go of addresses that were its own keeps it from nothing, and is said; one that is lost is not, as whoever has it hears of that anyway.</summary>
    internal async ValueTask UnmapAllAsync(GuestMemory memory, ILogger log)
    {
        foreach (GuestMemoryRegion region in memory.Regions)
        {
            foreach (Exception failure in await FailuresToUnmapAsync(region).ConfigureAwait(false))
            {
                if (failure is not VhostUserDisconnectedException)
                    FrontendLog.MappingStays(log, failure, region.GuestAddress.Value, region.Size);
            }
        }
    }

    private async Task<IReadOnlyList<Exception>> FailuresToUnmapAsync(GuestMemoryRegion region)
    {
        try
        {
            Task withdrawing = WithdrawAsync(new IoVirtualAddress(region.GuestAddress.Value), region.Size, CancellationToken.None);
            await withdrawing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            return withdrawing.Exception is { } failed ? failed.InnerExceptions : [];
        }
        catch (ArgumentException changed)
        {
            return [changed];
        }
    }

    /// <summary>Has the failures of all devices, where an awaited task throws one.</summary>
    /// <exception cref="ArgumentException">At once: a mapping is only in part inside the range.</exception>
    private Task WithdrawAsync(IoVirtualAddress address, ulong size, CancellationToken cancellationToken)
    {
        VhostUserFrontend[] devices;
        lock (_gate)
        {
            Remove(address, size);
            devices = [.. _devices];
        }

        return Task.WhenAll(Array.ConvertAll(devices, device => device.InvalidateIotlbAsync(address, size, cancellationToken).AsTask()));
    }

    private IommuTranslation Part(in IommuTranslation mapping, ulong address)
    {
        if (mapping.Size <= LargestTranslation)
            return mapping;
        ulong offset = (address - mapping.Address.Value) / LargestTranslation * LargestTranslation;
        ulong size = Math.Min(LargestTranslation, mapping.Size - offset);
        return mapping with { Address = new(mapping.Address.Value + offset), GuestAddress = new(mapping.GuestAddress.Value + offset), Size = size };
    }

    private void Remove(IoVirtualAddress address, ulong size)
    {
        int from = FirstFrom(address.Value);
        int to = from;
        if (from > 0 && Find(address.Value) is { } before && before.Address != address)
            throw new ArgumentException(Invariant($"the mapping at {before.Address} with size 0x{before.Size:x} goes on into the range at {address}"), nameof(address));
        for (; to < _mappings.Count && _mappings.Values[to] is var mapping && mapping.Address.Value - address.Value < size; to++)
        {
            if (mapping.Size > size - (mapping.Address.Value - address.Value))
                throw new ArgumentException(Invariant($"the mapping at {mapping.Address} with size 0x{mapping.Size:x} goes on behind the range of 0x{size:x} bytes at {address}"), nameof(size));
        }

        while (to > from)
            _mappings.RemoveAt(--to);
    }

    private IommuTranslation? Find(ulong address)
    {
        int at = FirstFrom(address);
        if (at < _mappings.Count && _mappings.Keys[at] == address)
            return _mappings.Values[at];
        return at > 0 && _mappings.Values[at - 1] is var mapping && address - mapping.Address.Value < mapping.Size ? mapping : null;
    }

    /// <summary>The first mapping that begins at an address or behind it.</summary>
    private int FirstFrom(ulong address)
    {
        int low = 0;
        int high = _mappings.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (_mappings.Keys[middle] < address)
                low = middle + 1;
            else
                high = middle;
        }

        return low;
    }

    private static void RequireRange(IoVirtualAddress address, ulong size)
    {
        if (address.Value % PageSize != 0 || size == 0 || size % PageSize != 0 || size - 1 > ulong.MaxValue - address.Value)
            throw new ArgumentException(Invariant($"I/O virtual address {address} with size 0x{size:x}: both must be multiples of {PageSize}, with at least one page, and not pass 2^64"), nameof(address));
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
