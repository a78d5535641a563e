using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// A back-end that takes part in a migration: its userfaultfd, and where it has mapped which region. What it says is checked: it may name only regions that it was given, and wait only for pages in them.
/// </summary>
/// <remarks>
/// Faults and names come on different ways, so a fault may be heard before the name of its region, or after the region was replaced: those that come while names are awaited are kept until then, and regions that were named
/// before are still served.
/// </remarks>
internal sealed class PostcopyBackend : IAsyncDisposable
{
    /// <summary>Regions of former tables that are remembered, the last ones.</summary>
    private const int MostFormer = 1024;

    /// <summary>Faults that are kept while names are awaited. A thread that waits makes one.</summary>
    private const int MostEarly = 1024;

    private readonly PostcopyMigration _migration;
    private readonly UserFaults _faults;
    private readonly FaultListener _listener;
    private readonly Lock _gate = new();
    private readonly HashSet<ulong> _early = [];
    private Mapped[] _mapped = [];
    private Mapped[] _former = [];
    private bool _isNaming;

    /// <param name="migration">Who has the pages.</param>
    /// <param name="faults">Owned from now on.</param>
    /// <param name="failed">The back-end broke the rules, or its descriptor is of no use.</param>
    public PostcopyBackend(PostcopyMigration migration, UserFaults faults, Action<Exception> failed)
    {
        (_migration, _faults) = (migration, faults);
        _listener = new FaultListener(faults, OnFault, failed);
    }

    /// <exception cref="InvalidOperationException">Memory is not that of the migration.</exception>
    public void Require(PublishedMemory memory)
    {
        foreach (PublishedRegion region in memory.Regions)
            _migration.RegionOf(region.Memory);
    }

    /// <summary>The back-end is asked for addresses, and may wait at those before it has named them.</summary>
    public void BeginNaming()
    {
        lock (_gate)
            _isNaming = true;
    }

    /// <summary>It has answered, or not.</summary>
    /// <exception cref="VhostUserProtocolException">It waited meanwhile at an address that it has not named.</exception>
    public void EndNaming()
    {
        List<(Mapped Mapped, ulong Address)> heard = [];
        lock (_gate)
        {
            _isNaming = false;
            foreach (ulong address in _early)
                heard.Add((Find(address) ?? throw Unknown(address), address));
            _early.Clear();
        }

        foreach ((Mapped mapped, ulong address) in heard)
            Serve(mapped, address);
    }

    /// <summary>The back-end has a whole new table.</summary>
    /// <exception cref="VhostUserProtocolException">It does not answer with that table, or with addresses that cannot be.</exception>
    public void SetTable(IReadOnlyList<PublishedRegion> given, ReadOnlySpan<VhostUserMemoryRegion> told)
    {
        const string Name = "VHOST_USER_SET_MEM_TABLE";
        if (told.Length != given.Count)
            throw Broken(Name, $"the reply has {told.Length} regions, {given.Count} were given");
        List<Mapped> mapped = [];
        for (int i = 0; i < told.Length; i++)
            mapped.Add(Check(Name, given[i], told[i], mapped));
        lock (_gate)
        {
            Retire(_mapped);
            _mapped = [.. mapped];
        }
    }

    /// <summary>The back-end has one region more.</summary>
    /// <exception cref="VhostUserProtocolException">It does not answer with that region, or with an address that cannot be.</exception>
    public void Add(PublishedRegion given, in VhostUserMemoryRegion told)
    {
        Mapped mapped = Check("VHOST_USER_ADD_MEM_REG", given, told, _mapped);
        lock (_gate)
            _mapped = [.. _mapped, mapped];
    }

    /// <summary>The back-end has one region less.</summary>
    public void Remove(PublishedRegion gone)
    {
        lock (_gate)
        {
            Retire(_mapped.Where(mapped => mapped.Given == gone));
            _mapped = [.. _mapped.Where(mapped => mapped.Given != gone)];
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _listener.DisposeAsync().ConfigureAwait(false);
        _faults.Dispose();
    }

    private Mapped Check(string name, PublishedRegion given, in VhostUserMemoryRegion told, IReadOnlyList<Mapped> others)
    {
        if (told.GuestAddress != given.Wire.GuestAddress || told.Size != given.Wire.Size)
            throw Broken(name, $"the reply names 0x{told.Size:x} bytes at guest {told.GuestAddress}; 0x{given.Wire.Size:x} bytes at guest {given.Wire.GuestAddress} were given");
        PostcopyRegion region = _migration.RegionOf(given.Memory);
        ulong start = told.UserAddress.Value;
        ulong last = unchecked(start + (told.Size - 1));
        if (start == 0 || start % region.PageSize != 0 || last < start)
            throw Broken(name, $"the reply says address 0x{start:x} for 0x{told.Size:x} bytes in pages of 0x{region.PageSize:x}; a multiple of that is expected, from which the region fits below 2^64");
        foreach (Mapped other in others)
        {
            if (start <= other.Last && other.Start <= last)
                throw Broken(name, $"the reply says address 0x{start:x} for 0x{told.Size:x} bytes, where 0x{other.Given.Wire.Size:x} bytes are at 0x{other.Start:x} already");
        }

        return new Mapped(start, last, region, given);
    }

    private void OnFault(ulong address)
    {
        Mapped? mapped;
        lock (_gate)
        {
            mapped = Find(address);
            if (mapped is null && (!_isNaming || _early.Count == MostEarly))
                throw Unknown(address);
            if (mapped is null)
                _early.Add(address);
        }

        if (mapped is not null)
            Serve(mapped, address);
    }

    /// <summary>What was named last goes first: the kernel may use addresses again.</summary>
    private Mapped? Find(ulong address) => Array.Find(_mapped, mapped => mapped.Contains(address)) ?? Array.Find(_former, mapped => mapped.Contains(address));

    private void Serve(Mapped mapped, ulong address)
    {
        ulong page = (address - mapped.Start) / mapped.Region.PageSize;
        PageWaker waker = new(_faults, mapped.Start + (page * mapped.Region.PageSize), mapped.Region.PageSize);
        _migration.OnFault(mapped.Region, page, waker);
    }

    private void Retire(IEnumerable<Mapped> gone) => _former = [.. gone.Concat(_former).Take(MostFormer)];

    private VhostUserProtocolException Unknown(ulong address) =>
        Broken("page fault", $"at address 0x{address:x}, which is in none of the {_mapped.Length} regions that the back-end has named");

    private static VhostUserProtocolException Broken(string name, FormattableString what) =>
        new(VhostUserViolation.MemoryRegionInvalid, $"{name}: {what.ToString(CultureInfo.InvariantCulture)}");

    /// <summary>Where the back-end has a region, first and last byte.</summary>
    private sealed record Mapped(ulong Start, ulong Last, PostcopyRegion Region, PublishedRegion Given)
    {
        public bool Contains(ulong address) => address >= Start && address <= Last;
    }
}
