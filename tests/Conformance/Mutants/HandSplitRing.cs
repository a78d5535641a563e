using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>A split ring (virtio 1.2, 2.7).</summary>
internal sealed class HandSplitRing(HandSession session, HandVring vring, uint position) : HandRing(session, vring)
{
    private readonly Queue<ushort> _again = [];
    private ushort _next = (ushort)position;
    private ushort _used;
    private ushort _told;
    private bool _open;

    public override uint Position => _next;

    private HandSplitInflight? Area => Session.Inflight is HandSplitInflight area && area.Has(Vring.Index) ? area : null;

    private ulong UsedEvent => At.AvailableRing.Value + 4 + (2UL * Size);

    public override HandChain? Take()
    {
        if (!_open) Open();
        bool again = _again.TryPeek(out ushort head);
        if (!again && !TryHead(out head)) return null;
        HandChain chain = Walk(head);
        RequireUsedRing();
        if (again)
        {
            _again.Dequeue();
            return chain;
        }

        _next++;
        Area?.Take(Vring.Index, head);
        return chain;
    }

    public override void Complete(HandChain chain, uint written)
    {
        uint id = Session.Is(Sin.UsedIdWrong) ? (chain.Id + 1u) % Size : chain.Id;
        if (Session.Is(Sin.UsedLengthTooLong)) written += 512;
        if (Session.Is(Sin.UsedLengthZero)) written = 0;
        ulong slot = Session.Is(Sin.UsedSlotNotReduced) && _used >= Size ? Size - 1 : _used % Size;
        PutUsed(4 + (8 * slot), id | ((ulong)written << 32));
        Area?.Completing(Vring.Index, chain.Id);
        _used += (ushort)(Session.Is(Sin.UsedIndexByTwo) ? 2 : 1);
        Thread.MemoryBarrier();
        PutUsed(2, _used);
        Area?.Completed(Vring.Index, chain.Id, _used);
    }

    public override bool WantsCall()
    {
        ushort old = _told;
        _told = _used;
        return WantsCallFor(old != _used, () => UsesEvents ? PassedEvent(old) : PassedFlags());
    }

    public override bool Rearm()
    {
        if (Session.Is(Sin.AsksForNoKicks)) PutUsed<ushort>(0, 1);
        if (UsesEvents && !Session.Is(Sin.AvailEventStuck)) PutUsed(4 + (8UL * Size), _next);
        Thread.MemoryBarrier();
        return IsBehind(Space.Ring<ushort>(At.AvailableRing.Value + 2));
    }

    private void Open()
    {
        _used = Session.Is(Sin.UsedIndexFromZero) ? (ushort)0 : Space.Ring<ushort>(At.UsedRing.Value + 2);
        PutUsed<ushort>(0, 0);
        _told = _used;
        _open = true;
        if (Area?.Recover(Vring.Index, Size, _used) is not { } heads) return;
        _next = (ushort)(_used + heads.Count);
        if (!Session.Is(Sin.ResubmitsNothing)) heads.ForEach(_again.Enqueue);
    }

    private bool IsBehind(ushort available) => Session.Is(Sin.IndexWrapFails) ? _next < available : _next != available;

    private bool TryHead(out ushort head)
    {
        head = 0;
        ushort available = Space.Ring<ushort>(At.AvailableRing.Value + 2);
        if (!IsBehind(available)) return false;
        if (Session.Is(Sin.SmallestRingDead) && Size <= 2) return false;
        if ((ushort)(available - _next) > Size) throw new HandFaultException($"available index {available} runs ahead of {_next}");
        head = Space.Ring<ushort>(At.AvailableRing.Value + 4 + (2 * (_next % Size)));
        if (Session.Is(Sin.ReducesHead)) head = (ushort)(head % Size);
        return head < Size ? true : throw new HandFaultException($"head {head} of {Size}");
    }

    private HandChain Walk(ushort head)
    {
        HandChain chain = new(Session, head);
        uint index = head;
        for (uint steps = 0; steps < Size || HangsIn(); steps++)
        {
            HandDescriptor descriptor = Space.Ring<HandDescriptor>(At.DescriptorTable.Value + (16UL * index));
            ushort flags = descriptor.Third;
            if ((flags & Indirect) != 0 && !Session.Is(Sin.IgnoresIndirect))
            {
                if (steps > 0 && Session.Is(Sin.RefusesTableBehindDescriptors)) throw new HandFaultException("descriptors and a table");
                if ((flags & Next) != 0) throw new HandFaultException("INDIRECT and NEXT");
                AddTable(chain, descriptor.Address, descriptor.Length, Size - steps, linked: true);
                return chain;
            }

            chain.Add(descriptor.Address, descriptor.Length, (flags & Writable) != 0);
            if ((flags & Next) == 0 || (steps == 2 && Session.Is(Sin.CutsLongChain))) return chain;
            index = Session.Is(Sin.IgnoresNext) ? (index + 1) % Size : descriptor.Fourth;
            if (index >= Size) throw new HandFaultException($"next {index} of {Size}");
        }

        throw new HandFaultException("a chain longer than the ring");
    }

    /// <summary>Past the end of all chains there can be.</summary>
    private bool HangsIn()
    {
        if (!Session.Is(Sin.FollowsLoopForEver)) return false;
        Session.IsWedged = true;
        return false;
    }

    /// <summary>Nothing is taken that could not be given back.</summary>
    private void RequireUsedRing()
    {
        Space.RingAddress(At.UsedRing.Value + 2, 2, VhostUserIotlbPermission.WriteOnly);
        Space.RingAddress(At.UsedRing.Value + 4 + (8 * (_used % Size)), 8, VhostUserIotlbPermission.WriteOnly);
    }

    private bool PassedFlags() => (Space.Ring<ushort>(At.AvailableRing.Value) & 1) == 0 || Session.Is(Sin.CallsDespiteNoInterrupt);

    private bool PassedEvent(ushort old)
    {
        if (Session.Is(Sin.IgnoresUsedEvent)) return true;
        ushort wanted = Space.Ring<ushort>(UsedEvent);
        if (Session.Is(Sin.UsedEventOffByOne)) wanted++;
        return (ushort)(_used - wanted - 1) < (ushort)(_used - old);
    }

    private void PutUsed<T>(ulong offset, T value)
        where T : unmanaged => MarkRing(Space.PutRing(At.UsedRing.Value + offset, value), offset, (uint)System.Runtime.CompilerServices.Unsafe.SizeOf<T>());
}
