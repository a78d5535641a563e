namespace Vhost.Protocol;

/// <summary>
/// Chains whose addresses an IOMMU translates. The table has no regions, so that nothing is found in <see cref="Window"/> and each buffer comes here; whoever has no IOMMU pays nothing for it.
/// </summary>
internal sealed partial class ChainBatch
{
    /// <summary>Misses that are noted of one buffer: what is asked for at once.</summary>
    private const int MostMisses = 64;

    private readonly List<TranslationMiss> _misses = [];
    private TranslationMap? _translations;
    private TranslationMiss? _refused;

    /// <summary>The translation of each segment; empty without an IOMMU.</summary>
    private Translation[] _sources = [];

    /// <summary>The last chain was left alone, as translations are missing: it is not wrong, and comes again.</summary>
    internal bool HasMissed => _misses.Count > 0;

    /// <summary>Chains are looked up in another table from now on. The batch is empty.</summary>
    internal void Use(GuestMemory table)
    {
        Window = new RegionWindow(table);
        _translations = table.Translations;
        Array.Clear(_sources);
    }

    /// <summary>What was missing of the last chain. It is forgotten here.</summary>
    internal TranslationMiss[] TakeMisses()
    {
        TranslationMiss[] misses = [.. _misses];
        _misses.Clear();
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
            if (source?.Allows(needed) != true)
            {
                return source is { IsFinal: true }
                    ? Refuse(VirtqueueFault.BufferOutsideMemory, $"buffer that the IOMMU lets nobody {(write ? "write" : "read")}, at I/O virtual address", address, needed)
                    : Miss(map, address, length, needed);
            }

            if (_segmentCount == _segments.Length && !Grow())
            {
                return Fault(VirtqueueFault.ChainTooLong, "pieces of memory in a chain", (ulong)(_segmentCount - _first) + 1, (ulong)(_segmentCount - _first));
            }

            uint here = (uint)Math.Min(length - 1, source.Last - address) + 1;
            AddSegment(source, address, here);
            address = unchecked(address + here);
            length -= here;
        }

        return VirtqueueFault.None;
    }

    private void AddSegment(Translation source, ulong address, uint length)
    {
        if (_sources.Length < _segments.Length)
        {
            Array.Resize(ref _sources, _segments.Length);
        }

        _sources[_segmentCount] = source;
        _segments[_segmentCount++] = new BufferSegment(source.Address + (nint)(address - source.Start), length);
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
                    : Miss(map, address, (uint)destination.Length, VhostUserIotlbPermission.ReadOnly);
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

    /// <summary>Ends the walk as a fault does; whoever sees the fault looks for misses first.</summary>
    private VirtqueueFault Miss(TranslationMap map, ulong address, uint length, VhostUserIotlbPermission needed)
    {
        TranslationMiss.Find(map, address, length, needed, _misses, MostMisses);
        return VirtqueueFault.BufferOutsideMemory;
    }
}
