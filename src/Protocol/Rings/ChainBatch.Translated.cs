namespace Vhost.Protocol;

/// <summary>
/// Chains whose addresses an IOMMU translates. The table has no regions, so that nothing is found in <see cref="Window"/> and each buffer comes here; whoever has no IOMMU pays a comparison for it.
/// </summary>
internal sealed partial class ChainBatch
{
    /// <summary>Misses that are noted of a chain, and of those behind it: what is asked for at once.</summary>
    private const int MostMisses = 64;

    /// <summary>What the walk of a chain that lacks translations ends with, as with a fault; whoever sees it looks for misses first.</summary>
    private const VirtqueueFault Missed = VirtqueueFault.BufferOutsideMemory;

    private readonly List<TranslationMiss> _misses = [];

    /// <summary>Places where one was missing.</summary>
    private int _missing;
    private int _missLimit = MostMisses;

    /// <summary>Where the misses of the chain that is being walked begin.</summary>
    private int _ownMisses;
    private TranslationMap? _translations;
    private TranslationMiss? _refused;

    /// <summary>The translation of each segment; empty without an IOMMU.</summary>
    private Translation[] _sources = [];

    /// <summary>The last chain was left alone, as translations are missing: it is not wrong, and comes again.</summary>
    internal bool HasMissed => _missing > 0;

    /// <summary>As long as there are fewer misses, chains behind one that lacks translations are looked at for theirs (<see cref="MayLookAhead"/>).</summary>
    internal int MostAhead { get; init; }

    private bool MayMissMore => _misses.Count < _missLimit && _missing < TranslationMiss.MostPlaces;

    /// <summary>Chains are looked up in another table from now on. The batch is empty.</summary>
    internal void Use(GuestMemory table)
    {
        Window = new RegionWindow(table);
        _translations = table.Translations;
        Array.Clear(_sources);
    }

    /// <summary>What was missing of the last chain, and of those that were looked at behind it. It is forgotten here.</summary>
    internal TranslationMiss[] TakeMisses()
    {
        TranslationMiss[] misses = [.. _misses];
        _misses.Clear();
        _missing = 0;
        _ownMisses = 0;
        _missLimit = MostMisses;
        _refused = null; // it is looked at again
        return misses;
    }

    /// <summary>What the IOMMU does not allow, for good, and a chain demanded since the last call. It is forgotten here.</summary>
    internal bool TryTakeRefused(out TranslationMiss refused)
    {
        refused = _refused.GetValueOrDefault();
        bool isRefused = _refused is not null;
        _refused = null;
        return isRefused;
    }

    /// <summary>
    /// Whether the next chain, too, may be walked for what it lacks, behind one that lacks something. It is no part of the batch either, whatever is found. One that is long is enough for one go, as elsewhere.
    /// </summary>
    internal bool MayLookAhead()
    {
        _missLimit = Math.Min(MostAhead, MostMisses);
        _ownMisses = _misses.Count;
        return MayMissMore && _walked < _walkLimit && _segmentCount - _first <= 4 * Capacity;
    }

    /// <summary>A claim on the memory of one chain.</summary>
    internal GuestMemoryLease Acquire(in FetchedChain chain, GuestMemory table) =>
        _translations is null ? table.Acquire() : table.AcquirePart(_sources.AsSpan(chain.First, chain.End - chain.First));

    private VirtqueueFault AddTranslated(TranslationMap map, ulong address, uint length, bool write)
    {
        if (length - 1 > ulong.MaxValue - address)
        {
            return Fault(VirtqueueFault.BufferOutsideMemory, "buffer passes the end of the address space, at I/O virtual address", address, null);
        }

        VhostUserIotlbPermission needed = write ? VhostUserIotlbPermission.WriteOnly : VhostUserIotlbPermission.ReadOnly;
        while (length > 0)
        {
            Translation? source = map.Find(address);
            uint here = (uint)Math.Min(length - 1, TranslationMiss.EndOf(address, source) - address) + 1;
            VirtqueueFault fault = source?.Allows(needed) == true ? AddSegment(source, address, here)
                : source is { IsFinal: true } ? Refuse(VirtqueueFault.BufferOutsideMemory, $"buffer that the IOMMU lets nobody {(write ? "write" : "read")}, at I/O virtual address", address, needed)
                : Miss(source, address, needed);
            if (fault != VirtqueueFault.None)
            {
                return fault;
            }

            address = unchecked(address + here);
            length -= here;
        }

        return VirtqueueFault.None;
    }

    private VirtqueueFault AddSegment(Translation source, ulong address, uint length)
    {
        if (_segmentCount == _segments.Length && !Grow())
        {
            return Fault(VirtqueueFault.ChainTooLong, "pieces of memory in a chain", (ulong)(_segmentCount - _first) + 1, (ulong)(_segmentCount - _first));
        }

        if (_sources.Length < _segments.Length)
        {
            Array.Resize(ref _sources, _segments.Length);
        }

        _sources[_segmentCount] = source;
        _segments[_segmentCount++] = new BufferSegment(source.Address + (nint)(address - source.Start), length);
        return VirtqueueFault.None;
    }

    /// <summary>Copies what an indirect table has in guest memory, which may lie in several pages.</summary>
    private VirtqueueFault CopyTranslated(TranslationMap map, ulong address, Span<byte> destination)
    {
        if ((ulong)(destination.Length - 1) > ulong.MaxValue - address)
        {
            return Fault(VirtqueueFault.BadIndirectTable, "indirect table passes the end of the address space, at I/O virtual address", address, null);
        }

        while (!destination.IsEmpty)
        {
            Translation? source = map.Find(address);
            if (source?.Allows(VhostUserIotlbPermission.ReadOnly) != true)
            {
                return source is { IsFinal: true }
                    ? Refuse(VirtqueueFault.BadIndirectTable, "indirect table that the IOMMU lets nobody read, at I/O virtual address", address, VhostUserIotlbPermission.ReadOnly)
                    : MissTable(map, address, (uint)destination.Length);
            }

            int here = (int)Math.Min((ulong)destination.Length - 1, source.Last - address) + 1;
            MappedBytes.CopyTo(source.Address + (nint)(address - source.Start), destination[..here]);
            address = unchecked(address + (uint)here);
            destination = destination[here..];
        }

        return VirtqueueFault.None;
    }

    private VirtqueueFault Refuse(VirtqueueFault fault, string what, ulong address, VhostUserIotlbPermission needed)
    {
        _refused = new TranslationMiss(address, needed);
        return Fault(fault, what, address, null);
    }

    /// <summary>Notes a place that has no translation. The walk goes on, so that all that a chain lacks is asked for at once, until it is enough.</summary>
    private VirtqueueFault Miss(Translation? known, ulong address, VhostUserIotlbPermission needed)
    {
        TranslationMiss.Note(address, needed, known, _misses, _ownMisses);
        _missing++;
        return MayMissMore ? VirtqueueFault.None : Missed;
    }

    /// <summary>Without the whole table nobody knows what else is in it.</summary>
    private VirtqueueFault MissTable(TranslationMap map, ulong address, uint length)
    {
        TranslationMiss.Find(map, address, length, VhostUserIotlbPermission.ReadOnly, _misses, _missLimit, _ownMisses);
        _missing++;
        return Missed;
    }
}
