using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>A packed ring (virtio 1.2, 2.8).</summary>
internal sealed class HandPackedRing : HandRing
{
    private readonly Queue<HandNoted> _again = [];
    private HandPlace _next;
    private HandPlace _used;
    private HandPlace _told;
    private HandPlace _reread;
    private bool _any;
    private bool _open;

    public HandPackedRing(HandSession session, HandVring vring, uint position)
        : base(session, vring)
    {
        _next = HandPlace.Of((ushort)position, Size);
        bool both = position >> 16 != 0;
        _used = both ? HandPlace.Of((ushort)(position >> 16), Size) : _next;
        if (session.Is(Sin.IgnoresWrapOfBase)) (_next, _used) = (_next with { Turn = true }, _used with { Turn = true });
        _told = _used;
    }

    private HandPackedInflight? Area => Session.Inflight is HandPackedInflight area && area.Has(Vring.Index) ? area : null;

    public override uint Position => Session.Is(Sin.AnswersNoUsedHalf) ? _next.Word : _next.Word | ((uint)_used.Word << 16);

    public override HandChain? Take()
    {
        if (!_open) Open();
        if (_again.TryPeek(out HandNoted? noted)) return TakeAgain(noted);
        ushort flags = Space.Ring<ushort>(Slot(_next) + 14);
        if (!_next.IsAvailable(flags)) return null;
        Thread.MemoryBarrier();
        HandChain chain = Walk(i => Space.Ring<HandDescriptor>(Slot(_next.Ahead(i, Size))));
        Space.RingAddress(Slot(_used), 16, VhostUserIotlbPermission.WriteOnly);
        if (Area is { } area) chain.Entry = area.Take(Vring.Index, Size, chain.Descriptors);
        _next = _next.Ahead(Session.Is(Sin.SkipsOneSlotPerChain) ? 1 : chain.Slots, Size, Session.Is(Sin.NextWrapNotFlipped));
        return chain;
    }

    public override void Complete(HandChain chain, uint written)
    {
        if (Session.Is(Sin.PackedUsedLengthZero)) written = 0;
        ushort id = Session.Is(Sin.PackedUsedIdWrong) ? (ushort)((chain.Id + 1) % Size) : chain.Id;
        HandPlace after = _used.Ahead(Session.Is(Sin.UsesOneSlotPerChain) ? 1 : chain.Slots, Size, Session.Is(Sin.UsedWrapNotFlipped));
        Put(8, written | ((ulong)id << 32), 6);
        Area?.Completing(Vring.Index, Size, chain.Entry, after);
        Thread.MemoryBarrier();
        ushort flags = (ushort)(_used.Turn ? HandPlace.Available | HandPlace.Used : 0);
        if (Session.Is(Sin.UsedFlagsWrong)) flags ^= HandPlace.Available;
        MarkRing(Space.PutRing(Slot(_used) + 14, (ushort)(flags | (written > 0 ? Writable : 0))), 0, 2);
        (_used, _any) = (after, true);
        Area?.Completed(Vring.Index, Size, chain.Entry);
    }

    public override bool WantsCall()
    {
        HandPlace old = _told;
        bool any = _any;
        (_told, _any) = (_used, false);
        return WantsCallFor(any, () => PassedArea(old));
    }

    public override bool Rearm()
    {
        uint events = UsesEvents ? _next.Word | (2u << 16) : 0;
        if (Session.Is(Sin.PackedAsksForNoKicks)) events = 1u << 16;
        if (!Session.Is(Sin.DeviceAreaStuck)) MarkRing(Space.PutRing(At.UsedRing.Value, events), 0, 4);
        Thread.MemoryBarrier();
        return _next.IsAvailable(Space.Ring<ushort>(Slot(_next) + 14));
    }

    private void Open()
    {
        if (Area is { } area && area.Recover(Vring.Index, Size, ref _used, place => Space.Ring<ushort>(Slot(place) + 14)) is { } left)
        {
            (_told, _reread) = (_used, _used);
            _next = _used.Ahead(left.Sum(static noted => noted.Descriptors.Length), Size);
            if (!Session.Is(Sin.ResubmitsNoPackedRequest)) left.ForEach(_again.Enqueue);
        }

        uint events = UsesEvents && Session.Is(Sin.DeviceAreaStuck) ? _next.Word | (2u << 16) : 0;
        MarkRing(Space.PutRing(At.UsedRing.Value, events), 0, 4);
        _open = true;
    }

    private ulong Slot(HandPlace place) => At.DescriptorTable.Value + (16UL * place.Index);

    private HandChain TakeAgain(HandNoted noted)
    {
        HandChain chain = Session.Is(Sin.ReadsRingForNoted)
            ? Walk(i => Space.Ring<HandDescriptor>(Slot(_reread.Ahead(i, Size))))
            : Walk(i => i < noted.Descriptors.Length ? noted.Descriptors[i] : throw new HandFaultException("a noted request without an end"));
        Space.RingAddress(Slot(_used), 16, VhostUserIotlbPermission.WriteOnly);
        chain.Entry = noted.Entry;
        _reread = _reread.Ahead(chain.Slots, Size);
        _again.Dequeue();
        return chain;
    }

    /// <summary>Reads the descriptors of the next chain, one behind the other. The identifier is in the last one.</summary>
    private HandChain Walk(Func<int, HandDescriptor> descriptors)
    {
        HandChain chain = new(Session, 0);
        while (chain.Slots < Size)
        {
            HandDescriptor descriptor = descriptors(chain.Slots);
            ushort flags = descriptor.Fourth;
            chain.Descriptors.Add(descriptor);
            chain.Slots++;
            if (chain.Slots == 1 || !Session.Is(Sin.TakesIdOfFirst)) chain.Id = descriptor.Third;
            if ((flags & Indirect) != 0)
            {
                if (Session.Is(Sin.PackedIndirectFails)) throw new HandFaultException("a table");
                if ((flags & Next) != 0) throw new HandFaultException("INDIRECT and NEXT");
                AddTable(chain, descriptor.Address, descriptor.Length, Size, linked: false);
            }
            else
            {
                chain.Add(descriptor.Address, descriptor.Length, (flags & Writable) != 0);
            }

            if ((flags & Next) == 0) return Known(chain);
            if (_next.Ahead(chain.Slots, Size).Index == 0 && Session.Is(Sin.ChainAcrossEndFails)) throw new HandFaultException("a chain across the end");
        }

        if (Session.Is(Sin.EndlessPackedChainWedges)) Session.IsWedged = true;
        throw new HandFaultException("a chain longer than the ring");
    }

    private HandChain Known(HandChain chain)
    {
        bool known = chain.Id < Size;
        return known ? chain : throw new HandFaultException($"identifier {chain.Id} of {Size}");
    }

    private bool PassedArea(HandPlace old)
    {
        ushort flags = (ushort)(Space.Ring<ushort>(At.AvailableRing.Value + 2) & 3);
        if (flags == 1) return Session.Is(Sin.PackedCallsDespiteDisable);
        if (flags != 2 || !UsesEvents || Session.Is(Sin.PackedIgnoresEvent)) return true;
        HandPlace wanted = HandPlace.Of(Space.Ring<ushort>(At.AvailableRing.Value), uint.MaxValue);
        int at = (int)wanted.Index - (wanted.Turn != _used.Turn ? (int)Size : 0);
        int from = (int)old.Index - (_used.Index <= old.Index ? (int)Size : 0);
        return (ushort)(_used.Index - at - 1) < (ushort)(_used.Index - from);
    }

    private void Put(ulong offset, ulong value, int bytes)
    {
        ulong at = Slot(_used) + offset;
        GuestAddress written = Space.PutRing(at, (uint)value);
        Space.PutRing(at + 4, (ushort)(value >> 32));
        MarkRing(written, 0, (uint)bytes);
    }
}
