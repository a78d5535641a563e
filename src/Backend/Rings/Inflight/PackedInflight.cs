using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Requests of a packed ring. The driver's descriptors are gone when the device writes used ones over them, so an entry keeps a copy of each; the entries that nobody uses are a
/// list. The words of that list and the used position are there twice: as they will be when the driver has seen a batch, and as they were before.
/// </summary>
internal sealed class PackedInflight : InflightTracker
{
    private const ushort None = ushort.MaxValue;

    private readonly ushort[] _next;
    private readonly ushort[] _last;
    private readonly ushort[] _count;
    private readonly ushort[] _idOf;

    /// <summary>The first entry of each buffer id in flight.</summary>
    private readonly ushort[] _entryOf;
    private PackedDescriptor[] _noted = new PackedDescriptor[8];
    private PackedRing _ring;
    private PackedChainWalker _walker;
    private ushort _free;
    private PackedPosition _used;
    private PackedPosition _taken;

    /// <summary>Begins with what the last back-end left, if it left anything that can be of this ring.</summary>
    /// <param name="part">The queue's part of the area, with as many entries as the ring.</param>
    /// <param name="ring">The ring.</param>
    /// <param name="available">Where the ring goes on when nothing was left.</param>
    /// <param name="used">Where the first used descriptor goes when nothing was left.</param>
    internal PackedInflight(InflightPart part, in PackedRing ring, PackedPosition available, PackedPosition used)
        : base(part)
    {
        _next = new ushort[part.Entries];
        _last = new ushort[part.Entries];
        _count = new ushort[part.Entries];
        _idOf = new ushort[part.Entries];
        _entryOf = new ushort[part.Entries];
        Array.Fill(_entryOf, None);
        _ring = ring;
        bool isInUse = part.IsInUse;
        if (isInUse && TryRecover())
            return;
        IsDiscarded = isInUse;
        Array.Fill(_entryOf, None);
        (_used, _taken, _free) = (used, available, 0);
        part.Begin(ClearAll);
    }

    internal PackedPosition NextAvailable => _taken;

    internal PackedPosition NextUsed => _used;

    /// <summary>Buffers that were left, each with its descriptors.</summary>
    internal IEnumerable<(ushort Id, ushort Descriptors)> Left =>
        _entryOf.Where(static entry => entry != None).Select(entry => (_idOf[entry], _count[entry]));

    /// <summary>The ring, as it is mapped now.</summary>
    internal void Use(in PackedRing ring, in PackedChainWalker walker) => (_ring, _walker) = (ring, walker);

    /// <summary>Copies the descriptors a second time: what the driver changed meanwhile is its own business, and is checked when it is fetched again.</summary>
    internal override void Taken(in FetchedChain chain)
    {
        ushort first = _free;
        ushort at = first;
        ulong head = InflightLayout.PackedAt(first);
        Part.Write<ushort>(head + InflightLayout.PackedCountAt, 0);
        Part.Write(head + InflightLayout.CounterAt, NextNumber++);
        Part.Write<byte>(head + InflightLayout.MarkAt, 1);
        for (ushort i = 1; i <= chain.Descriptors; i++)
        {
            Part.Write(head + InflightLayout.PackedCountAt, i);
            Note(InflightLayout.PackedAt(at), _ring.ReadDescriptor(_taken.Index));
            Part.Write(head + InflightLayout.PackedLastAt, at);
            _last[first] = at;
            at = _next[at];
            Part.Write(InflightLayout.PackedFreeAt, at);
            _taken.Advance(1);
        }

        Part.Write(InflightLayout.PackedOldFreeAt, at);
        (_count[first], _idOf[first], _entryOf[chain.Id], _free) = (chain.Descriptors, chain.Id, first, at);
    }

    internal override void GivenBack(in FetchedChain chain)
    {
        ushort first = _entryOf[chain.Id];
        ushort last = _last[first];
        if (_next[last] != _free)
        {
            // Others have become free meanwhile.
            Part.Write(InflightLayout.PackedAt(last) + InflightLayout.PackedNextAt, _free);
            _next[last] = _free;
        }

        Part.Write(InflightLayout.PackedFreeAt, first);
        Part.Write(InflightLayout.PackedOldFreeAt, first);
        Part.Write<byte>(InflightLayout.PackedAt(first) + InflightLayout.MarkAt, 0);
        _taken.Retreat(chain.Descriptors);
        (_entryOf[chain.Id], _free) = (None, first);
    }

    internal override void Publishing()
    {
        foreach (ushort first in Staged)
        {
            ushort last = _last[first];
            Part.Write(InflightLayout.PackedAt(last) + InflightLayout.PackedNextAt, _free);
            Part.Write(InflightLayout.PackedFreeAt, first);
            (_next[last], _free) = (_free, first);
            _used.Advance(_count[first]);
            Part.Write<byte>(InflightLayout.PackedUsedWrapAt, _used.Wrap ? (byte)1 : (byte)0);
            Part.Write(InflightLayout.PackedUsedAt, (ushort)_used.Index);
        }
    }

    protected override ushort EntryOf(ushort id)
    {
        ushort entry = _entryOf[id];
        _entryOf[id] = None;
        return entry;
    }

    protected override ushort IdOf(ushort name) => _idOf[name];

    protected override void StrikeOut()
    {
        foreach (ushort first in Staged)
            Part.Write<byte>(InflightLayout.PackedAt(first) + InflightLayout.MarkAt, 0);
        Settle();
    }

    protected override VirtqueueFault FetchAgain(ushort name, ChainBatch batch)
    {
        int count = _count[name];
        if (_noted.Length < count)
            _noted = new PackedDescriptor[count];
        ushort at = name;
        for (int i = 0; i < count; i++)
        {
            ulong entry = InflightLayout.PackedAt(at);
            _noted[i] = new PackedDescriptor(
                Part.Read<ulong>(entry + InflightLayout.PackedAddressAt),
                Part.Read<uint>(entry + InflightLayout.PackedLengthAt),
                _idOf[name],
                Part.Read<ushort>(entry + InflightLayout.PackedFlagsAt));
            at = _next[at];
        }

        return _walker.WalkNoted(_idOf[name], _noted.AsSpan(0, count));
    }

    private void Note(ulong entry, in PackedDescriptor descriptor)
    {
        Part.Write(entry + InflightLayout.PackedAddressAt, descriptor.Address);
        Part.Write(entry + InflightLayout.PackedLengthAt, descriptor.Length);
        Part.Write(entry + InflightLayout.PackedFlagsAt, descriptor.Flags);
        Part.Write(entry + InflightLayout.PackedIdAt, descriptor.Id);
    }

    /// <summary>As it is now is as it was before the next batch. The free entry comes first: with it the batch is settled, whatever became of the other two.</summary>
    private void Settle()
    {
        Part.Write(InflightLayout.PackedOldFreeAt, _free);
        Part.Write<byte>(InflightLayout.PackedOldUsedWrapAt, _used.Wrap ? (byte)1 : (byte)0);
        Part.Write(InflightLayout.PackedOldUsedAt, (ushort)_used.Index);
    }

    /// <summary>False when the part cannot be about this ring; nothing was changed then.</summary>
    private bool TryRecover()
    {
        if (!TryReadPositions(out PackedPosition now, out PackedPosition before))
            return false;

        // A batch whose old free entry is the new one is struck out, as far as that goes. Another one counts if the driver saw it: then its first descriptor is not as
        // the driver had made it available any more.
        ushort free = Part.Read<ushort>(InflightLayout.PackedFreeAt);
        ushort oldFree = Part.Read<ushort>(InflightLayout.PackedOldFreeAt);
        bool isSeen = free == oldFree || (now.Word != before.Word && !before.IsAvailable(_ring.ReadFlags(before.Index)));
        _used = isSeen ? now : before;
        _free = isSeen ? free : oldFree;
        for (uint entry = 0; entry < Part.Entries; entry++)
            _next[entry] = Part.Read<ushort>(InflightLayout.PackedAt(entry) + InflightLayout.PackedNextAt);
        bool[] known = new bool[Part.Entries];
        bool isWhole = TryWalkFree(known);
        FindLeft(known, isWhole);
        TakeBackUnseen();
        return true;
    }

    /// <summary>
    /// The last back-end may have ended after it had written used descriptors behind the first one of a batch, which hides them from the driver. The next batch is another one: they
    /// would be taken for its part. Nobody else writes here: all of it is the device's.
    /// </summary>
    private void TakeBackUnseen()
    {
        for (PackedPosition at = _used; at.Word != _taken.Word; at.Advance(1))
        {
            PackedDescriptor descriptor = _ring.ReadUsedDescriptor(at.Index);
            if (at.IsUsed(descriptor.Flags))
                _ring.PublishUsed(at.Index, new PackedDescriptor(0, descriptor.Length, descriptor.Id, at.AvailableFlags));
        }
    }

    private bool TryReadPositions(out PackedPosition now, out PackedPosition before)
    {
        ushort used = Part.Read<ushort>(InflightLayout.PackedUsedAt);
        ushort oldUsed = Part.Read<ushort>(InflightLayout.PackedOldUsedAt);
        now = new PackedPosition(used, Part.Read<byte>(InflightLayout.PackedUsedWrapAt) != 0, Part.Entries);
        before = new PackedPosition(oldUsed, Part.Read<byte>(InflightLayout.PackedOldUsedWrapAt) != 0, Part.Entries);
        return used < Part.Entries && oldUsed < Part.Entries;
    }

    /// <summary>Finds the entries that nobody uses. False when their list is broken; those before that are free.</summary>
    private bool TryWalkFree(bool[] known)
    {
        for (ushort entry = _free; entry != Part.Entries; entry = _next[entry])
        {
            if (entry > Part.Entries || known[entry])
                return false;
            known[entry] = true;
        }

        return true;
    }

    /// <summary>Finds the requests among the entries that are not free, and makes all others free.</summary>
    /// <param name="known">The free ones.</param>
    /// <param name="isListWhole">Whether their list can be kept.</param>
    private void FindLeft(bool[] known, bool isListWhole)
    {
        List<(ulong Number, ushort Name)> left = [];
        uint descriptors = 0;
        bool[] isFree = [.. known];
        BadCount = isListWhole ? 0 : 1;
        for (ushort entry = 0; entry < Part.Entries; entry++)
        {
            ulong at = InflightLayout.PackedAt(entry);
            if (known[entry] || Part.Read<byte>(at + InflightLayout.MarkAt) == 0)
                continue;
            if (!TryReadChain(entry, known))
            {
                BadCount++;
                continue;
            }

            descriptors += _count[entry];
            left.Add((Part.Read<ulong>(at + InflightLayout.CounterAt), entry));
        }

        Recover(left);
        _taken = _used;
        _taken.Advance(descriptors);
        if (!isListWhole)
            Dissolve(known, isFree);
        WriteFree(known);
    }

    /// <summary>No entry is on the list of free ones any more. One that is marked as taken and was on it is free first: otherwise its request would be served again, should this one end here.</summary>
    private void Dissolve(bool[] known, bool[] isFree)
    {
        for (uint entry = 0; entry < Part.Entries; entry++)
        {
            if (!isFree[entry])
                continue;
            Part.Write<byte>(InflightLayout.PackedAt(entry) + InflightLayout.MarkAt, 0);
            known[entry] = false;
        }

        _free = (ushort)Part.Entries;
    }

    /// <summary>False when it is no chain of this ring; its entries are for others then.</summary>
    private bool TryReadChain(ushort first, bool[] known)
    {
        ushort count = Part.Read<ushort>(InflightLayout.PackedAt(first) + InflightLayout.PackedCountAt);
        int read = 0;
        ushort at = first;
        for (; read < count && at < Part.Entries && !known[at]; read++)
        {
            known[at] = true;
            _last[first] = at;
            at = _next[at];
        }

        ushort id = read == 0 ? None : Part.Read<ushort>(InflightLayout.PackedAt(_last[first]) + InflightLayout.PackedIdAt);
        if (read != count || id >= Part.Entries || _entryOf[id] != None)
        {
            at = first;
            for (; read > 0; read--)
            {
                known[at] = false;
                at = _next[at];
            }

            return false;
        }

        (_count[first], _idOf[first], _entryOf[id]) = (count, id, first);
        return true;
    }

    private void WriteFree(bool[] known)
    {
        for (ushort entry = 0; entry < Part.Entries; entry++)
        {
            if (known[entry])
                continue;
            _next[entry] = _free;
            Part.Write(InflightLayout.PackedAt(entry) + InflightLayout.PackedNextAt, _free);
            _free = entry;
        }

        for (ushort entry = _free; entry != Part.Entries; entry = _next[entry])
            Part.Write<byte>(InflightLayout.PackedAt(entry) + InflightLayout.MarkAt, 0);
        // The position first: once both free entries are equal it is taken for settled.
        Part.Write<byte>(InflightLayout.PackedUsedWrapAt, _used.Wrap ? (byte)1 : (byte)0);
        Part.Write(InflightLayout.PackedUsedAt, (ushort)_used.Index);
        Part.Write(InflightLayout.PackedFreeAt, _free);
        Settle();
    }

    private void ClearAll()
    {
        for (ushort entry = 0; entry < Part.Entries; entry++)
        {
            _next[entry] = (ushort)(entry + 1);
            Part.Write<byte>(InflightLayout.PackedAt(entry) + InflightLayout.MarkAt, 0);
            Part.Write(InflightLayout.PackedAt(entry) + InflightLayout.PackedNextAt, _next[entry]);
        }

        Part.Write(InflightLayout.PackedFreeAt, _free);
        Part.Write<byte>(InflightLayout.PackedUsedWrapAt, _used.Wrap ? (byte)1 : (byte)0);
        Part.Write(InflightLayout.PackedUsedAt, (ushort)_used.Index);
        Settle();
    }
}
