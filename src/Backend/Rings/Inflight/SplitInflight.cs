using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Requests of a split ring: an entry for each head. Those that a batch completes are chained together before the driver sees the batch, so that the next back-end can strike
/// them out if this one was killed right behind that.
/// </summary>
internal sealed class SplitInflight : InflightTracker
{
    private readonly bool[] _noted;
    private SplitChainWalker _walker;
    private ushort _lastBatch;
    private ushort _used;

    /// <summary>Begins with what the last back-end left, if it left anything that can be of this ring.</summary>
    /// <param name="part">The queue's part of the area.</param>
    /// <param name="ringSize">Entries of the ring, at most as many as the part has.</param>
    /// <param name="used">The used index, as the driver sees it.</param>
    internal SplitInflight(InflightPart part, uint ringSize, ushort used)
        : base(part)
    {
        _noted = new bool[ringSize];
        _used = used;
        bool isInUse = part.IsInUse;
        if (isInUse && TryFinishBatch())
        {
            FindLeft();
            return;
        }

        IsDiscarded = isInUse;
        part.Begin(ClearAll);
    }

    /// <summary>Where the device goes on behind what was left: everything else that was made available before has been used.</summary>
    internal ushort NextAvailable => (ushort)(_used + RecoveredCount);

    /// <summary>The ring, as it is mapped now.</summary>
    internal void Use(in SplitChainWalker walker) => _walker = walker;

    internal override void Taken(in FetchedChain chain)
    {
        if (_noted[chain.Id])
            return; // a driver that offers a head twice gets it back twice, and has one entry for it
        _noted[chain.Id] = true;
        ulong entry = InflightLayout.SplitAt(chain.Id);
        Part.Write(entry + InflightLayout.CounterAt, NextNumber++);
        Part.Write<byte>(entry + InflightLayout.MarkAt, 1);
    }

    internal override void GivenBack(in FetchedChain chain) => Clear(chain.Id);

    internal override void Publishing()
    {
        foreach (ushort head in Staged)
        {
            Part.Write(InflightLayout.SplitAt(head) + InflightLayout.SplitNextAt, _lastBatch);
            Part.Write(InflightLayout.SplitLastBatchAt, head);
            _lastBatch = head;
        }
    }

    protected override ushort EntryOf(ushort id) => id;

    protected override ushort IdOf(ushort name) => name;

    protected override void StrikeOut()
    {
        foreach (ushort head in Staged)
            Clear(head);
        _used += (ushort)Staged.Length;
        Part.Write(InflightLayout.SplitUsedAt, _used);
    }

    protected override VirtqueueFault FetchAgain(ushort name, ChainBatch batch) => _walker.Walk(name);

    /// <summary>Strikes out a batch that the driver saw and the last back-end did not live to strike out. False when the part is about another life of the ring.</summary>
    private bool TryFinishBatch()
    {
        ushort noted = Part.Read<ushort>(InflightLayout.SplitUsedAt);
        int batch = (ushort)(_used - noted);
        if (batch > _noted.Length)
            return false;
        ushort head = Part.Read<ushort>(InflightLayout.SplitLastBatchAt);
        _lastBatch = (ushort)(head < Part.Entries ? head : 0);
        for (; batch > 0; batch--)
        {
            if (head >= Part.Entries)
                return false;
            ulong entry = InflightLayout.SplitAt(head);
            Part.Write<byte>(entry + InflightLayout.MarkAt, 0);
            head = Part.Read<ushort>(entry + InflightLayout.SplitNextAt);
        }

        Part.Write(InflightLayout.SplitUsedAt, _used);
        return true;
    }

    private void FindLeft()
    {
        List<(ulong Number, ushort Name)> left = [];
        for (ushort head = 0; head < Part.Entries; head++)
        {
            ulong entry = InflightLayout.SplitAt(head);
            if (Part.Read<byte>(entry + InflightLayout.MarkAt) == 0)
                continue;
            if (head >= _noted.Length)
            {
                Part.Write<byte>(entry + InflightLayout.MarkAt, 0); // of a larger ring that is gone
                continue;
            }

            _noted[head] = true;
            left.Add((Part.Read<ulong>(entry + InflightLayout.CounterAt), head));
        }

        Recover(left);
    }

    private void Clear(ushort head)
    {
        if (!_noted[head])
            return;
        _noted[head] = false;
        Part.Write<byte>(InflightLayout.SplitAt(head) + InflightLayout.MarkAt, 0);
    }

    private void ClearAll()
    {
        for (uint head = 0; head < Part.Entries; head++)
            Part.Write<byte>(InflightLayout.SplitAt(head) + InflightLayout.MarkAt, 0);
        Part.Write<ushort>(InflightLayout.SplitLastBatchAt, 0);
        Part.Write(InflightLayout.SplitUsedAt, _used);
    }
}
