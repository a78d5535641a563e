using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// A back-end that takes part in a migration: its userfaultfd, and where it has mapped which region. What it says is checked: it may name only regions that it was given, and wait only for pages in them.
/// </summary>
internal sealed class PostcopyBackend : IAsyncDisposable
{
    private readonly PostcopyMigration _migration;
    private readonly UserFaults _faults;
    private readonly FaultListener _listener;

    /// <summary>Replaced as a whole; faults are looked up in it meanwhile.</summary>
    private volatile Mapped[] _mapped = [];

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
        _mapped = [.. mapped];
    }

    /// <summary>The back-end has one region more.</summary>
    /// <exception cref="VhostUserProtocolException">It does not answer with that region, or with an address that cannot be.</exception>
    public void Add(PublishedRegion given, in VhostUserMemoryRegion told) => _mapped = [.. _mapped, Check("VHOST_USER_ADD_MEM_REG", given, told, _mapped)];

    /// <summary>The back-end has one region less.</summary>
    public void Remove(PublishedRegion gone) => _mapped = [.. _mapped.Where(mapped => mapped.Given != gone)];

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
        foreach (Mapped mapped in _mapped)
        {
            if (address < mapped.Start || address > mapped.Last)
                continue;
            ulong page = (address - mapped.Start) / mapped.Region.PageSize;
            PageWaker waker = new(_faults, mapped.Start + (page * mapped.Region.PageSize), mapped.Region.PageSize);
            _migration.OnFault(mapped.Region, page, waker);
            return;
        }

        throw Broken("page fault", $"at address 0x{address:x}, which is in none of the {_mapped.Length} regions that the back-end has named");
    }

    private static VhostUserProtocolException Broken(string name, FormattableString what) =>
        new(VhostUserViolation.MemoryRegionInvalid, $"{name}: {what.ToString(CultureInfo.InvariantCulture)}");

    /// <summary>Where the back-end has a region, first and last byte.</summary>
    private sealed record Mapped(ulong Start, ulong Last, PostcopyRegion Region, PublishedRegion Given);
}
