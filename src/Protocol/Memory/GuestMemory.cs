using System.Globalization;

namespace Vhost.Protocol;

/// <summary>
/// The guest's memory as one immutable table of regions, sorted by guest address and by user address. A change makes a new table;
/// the old one's mappings stay until its last <see cref="GuestMemoryLease"/> ends.
/// </summary>
/// <remarks>
/// <para>Ownership: the table holds a reference on every mapping in it. <see cref="Dispose"/> gives up the owner's claim and returns at once;
/// <see cref="Released"/> completes when nobody uses the table any more.</para>
/// <para>Threading: all members may be used from any thread.</para>
/// </remarks>
public sealed partial class GuestMemory : IDisposable
{
    /// <summary>The most regions a table holds: what the kernel's vhost and libvhost-user take too.</summary>
    public const int MaxRegions = 509;

    private readonly GuestMemoryRegion[] _regions;
    private readonly RegionMap _byGuest;
    private readonly RegionMap _byUser;
    private readonly TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>One for the owner and one per lease; 0 means the mappings' references are given back.</summary>
    private int _references = 1;
    private int _disposed;

    private GuestMemory(GuestMemoryRegion[] regions)
    {
        _regions = regions;
        _byGuest = new RegionMap(regions, static r => r.GuestAddress.Value);
        _byUser = new RegionMap(regions, static r => r.UserAddress.Value);
        HoldMappings();
    }

    /// <summary>The regions in ascending order of guest address.</summary>
    public IReadOnlyList<GuestMemoryRegion> Regions => _regions;

    /// <summary>Completes when the table has been disposed and its last lease has ended.</summary>
    public Task Released => _released.Task;

    internal RegionMap ByGuest => _byGuest;

    /// <summary>Makes a table.</summary>
    /// <param name="regions">Up to <see cref="MaxRegions"/>, in any order; they must not overlap in guest or in user addresses, nor pass 2^64.</param>
    /// <exception cref="ArgumentException">A region wraps or overlaps another, or there are too many; the message names the regions.</exception>
    public static GuestMemory Create(params ReadOnlySpan<GuestMemoryRegion> regions) =>
        TryCreate(regions, out VhostUserViolation _, out string explanation) ?? throw new ArgumentException(explanation, nameof(regions));

    /// <summary>The same table with one region more. The mappings are shared; both tables live on independently.</summary>
    /// <exception cref="ArgumentException">The region overlaps one that is there, or the table is full.</exception>
    public GuestMemory With(GuestMemoryRegion region) => Create([.. _regions, region]);

    /// <summary>The same table without the region that has exactly this guest address, size and user address (as REM_MEM_REG names one).</summary>
    /// <exception cref="ArgumentException">There is no such region.</exception>
    public GuestMemory Without(GuestAddress guestAddress, ulong size, UserAddress userAddress) =>
        TryFind(guestAddress, size, userAddress, out GuestMemoryRegion? region)
            ? Create([.. _regions.Where(r => r != region)])
            : throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"no region of 0x{size:x} bytes at guest 0x{guestAddress.Value:x}, user 0x{userAddress.Value:x} in the table of {_regions.Length}"),
                nameof(guestAddress));

    /// <summary>Translates a user address. False when the range is not wholly inside one region.</summary>
    /// <param name="userAddress">First byte.</param>
    /// <param name="length">Bytes; 0 asks for the address alone.</param>
    /// <param name="guestAddress">The guest address of the first byte.</param>
    public bool TryTranslate(UserAddress userAddress, ulong length, out GuestAddress guestAddress)
    {
        bool found = _byUser.TryFind(userAddress.Value, length, out int index, out ulong offset);
        guestAddress = found ? new GuestAddress(_byUser[index].GuestAddress.Value + offset) : default;
        return found;
    }

    /// <summary>Translates a guest address. False when the range is not wholly inside one region.</summary>
    /// <param name="guestAddress">First byte.</param>
    /// <param name="length">Bytes; 0 asks for the address alone.</param>
    /// <param name="userAddress">The user address of the first byte.</param>
    public bool TryTranslate(GuestAddress guestAddress, ulong length, out UserAddress userAddress)
    {
        bool found = _byGuest.TryFind(guestAddress.Value, length, out int index, out ulong offset);
        userAddress = found ? new UserAddress(_byGuest[index].UserAddress.Value + offset) : default;
        return found;
    }

    /// <summary>Keeps every mapping of this table alive until the lease is disposed.</summary>
    /// <exception cref="ObjectDisposedException">The table was disposed.</exception>
    public GuestMemoryLease Acquire()
    {
        int references = Volatile.Read(ref _references);
        while (references > 0)
        {
            int seen = Interlocked.CompareExchange(ref _references, references + 1, references);
            if (seen == references)
            {
                return LeaseUnlessDisposed();
            }

            references = seen;
        }

        throw new ObjectDisposedException(nameof(GuestMemory));
    }

    /// <summary>Gives up the owner's claim. Returns at once; the mappings go with the last lease.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            Release();
        }
    }

    internal bool TryFind(GuestAddress guestAddress, ulong size, UserAddress userAddress, out GuestMemoryRegion? region)
    {
        region = null;
        if (_byGuest.TryFind(guestAddress.Value, size, out int index, out ulong offset) && offset == 0)
        {
            GuestMemoryRegion found = _byGuest[index];
            region = found.Size == size && found.UserAddress == userAddress ? found : null;
        }

        return region is not null;
    }

    /// <summary>Makes a table out of what a peer sent; null and the reason when it breaks a rule.</summary>
    internal static GuestMemory? TryCreate(ReadOnlySpan<GuestMemoryRegion> regions, out VhostUserViolation violation, out string explanation)
    {
        violation = VhostUserViolation.None;
        explanation = string.Empty;
        if (regions.Length > MaxRegions)
        {
            violation = VhostUserViolation.TooManyMemoryRegions;
            explanation = string.Create(CultureInfo.InvariantCulture, $"memory table: {regions.Length} regions, at most {MaxRegions} are allowed");
            return null;
        }

        GuestMemoryRegion[] sorted = regions.ToArray();
        if (Overlap(sorted, static r => r.UserAddress.Value, "user", ref violation, ref explanation)
            || Overlap(sorted, static r => r.GuestAddress.Value, "guest", ref violation, ref explanation))
        {
            return null;
        }

        return new GuestMemory(sorted);
    }

    internal void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            foreach (GuestMemoryRegion region in _regions)
            {
                region.Memory.Mapping.DangerousRelease();
            }

            ReleaseTranslations();
            _released.TrySetResult();
        }
    }

    private GuestMemoryLease LeaseUnlessDisposed()
    {
        if (Volatile.Read(ref _disposed) == 0)
        {
            return new GuestMemoryLease(this);
        }

        Release();
        throw new ObjectDisposedException(nameof(GuestMemory));
    }

    /// <summary>Sorts by the address kind and reports the first region that wraps or overlaps its neighbour.</summary>
    private static bool Overlap(
        GuestMemoryRegion[] regions, Func<GuestMemoryRegion, ulong> start, string kind, ref VhostUserViolation violation, ref string explanation)
    {
        Array.Sort(regions, (a, b) => start(a).CompareTo(start(b)));
        for (int i = 0; i < regions.Length; i++)
        {
            GuestMemoryRegion region = regions[i];
            ulong last = start(region) + (region.Size - 1);
            if (last < start(region))
            {
                violation = VhostUserViolation.MemoryRegionInvalid;
                explanation = $"memory table: {region} passes the end of the {kind} address space";
                return true;
            }

            if (i + 1 < regions.Length && start(regions[i + 1]) <= last)
            {
                violation = VhostUserViolation.MemoryRegionOverlaps;
                explanation = $"memory table: {region} overlaps {regions[i + 1]} in {kind} addresses";
                return true;
            }
        }

        return false;
    }

    private void HoldMappings()
    {
        int held = 0;
        try
        {
            for (; held < _regions.Length; held++)
            {
                bool success = false;
                _regions[held].Memory.Mapping.DangerousAddRef(ref success);
            }
        }
        catch
        {
            while (held-- > 0)
            {
                _regions[held].Memory.Mapping.DangerousRelease();
            }

            throw;
        }
    }
}
