using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>A packed ring (virtio 1.2, 2.8).</summary>
internal sealed class HandPackedRing : HandRing
{
    private const ushort Available = 1 << 7;
    private const ushort Used = 1 << 15;
    private const ushort Wrap = 1 << 15;

    private Place _next;
    private Place _used;
    private Place _told;
    private bool _any;
    private bool _open;

    public HandPackedRing(HandSession session, HandVring vring, uint position)
        : base(session, vring)
    {
        _next = Place.Of((ushort)position, Size);
        bool both = position >> 16 != 0;
        _used = both ? Place.Of((ushort)(position >> 16), Size) : _next;
        if (session.Is(Sin.IgnoresWrapOfBase)) (_next, _used) = (_next with { Turn = true }, _used with { Turn = true });
        _told = _used;
    }

    public override uint Position => Session.Is(Sin.AnswersNoUsedHalf) ? _next.Word : _next.Word | ((uint)_used.Word << 16);

    public override HandChain? Take()
    {
        if (!_open) Open();
        ushort flags = Space.Ring<ushort>(Slot(_next) + 14);
        if (!IsAvailable(flags)) return null;
        Thread.MemoryBarrier();
        HandChain chain = Walk();
        Space.RingAddress(Slot(_used), 16, VhostUserIotlbPermission.WriteOnly);
        _next = Ahead(_next, Session.Is(Sin.SkipsOneSlotPerChain) ? 1 : chain.Slots, Session.Is(Sin.NextWrapNotFlipped));
        return chain;
    }

    public override void Complete(HandChain chain, uint written)
    {
        if (Session.Is(Sin.PackedUsedLengthZero)) written = 0;
        ushort id = Session.Is(Sin.PackedUsedIdWrong) ? (ushort)((chain.Id + 1) % Size) : chain.Id;
        Put(8, written | ((ulong)id << 32), 6);
        Thread.MemoryBarrier();
        ushort flags = (ushort)(_used.Turn ? Available | Used : 0);
        if (Session.Is(Sin.UsedFlagsWrong)) flags ^= Available;
        MarkRing(Space.PutRing(Slot(_used) + 14, (ushort)(flags | (written > 0 ? Writable : 0))), 0, 2);
        _used = Ahead(_used, Session.Is(Sin.UsesOneSlotPerChain) ? 1 : chain.Slots, Session.Is(Sin.UsedWrapNotFlipped));
        _any = true;
    }

    public override bool WantsCall()
    {
        Place old = _told;
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
        return IsAvailable(Space.Ring<ushort>(Slot(_next) + 14));
    }

    private void Open()
    {
        uint events = UsesEvents && Session.Is(Sin.DeviceAreaStuck) ? _next.Word | (2u << 16) : 0;
        MarkRing(Space.PutRing(At.UsedRing.Value, events), 0, 4);
        _open = true;
    }

    private ulong Slot(Place place) => At.DescriptorTable.Value + (16UL * place.Index);

    private bool IsAvailable(ushort flags) => (flags & Available) != 0 == _next.Turn && (flags & Used) != 0 != _next.Turn;

    private Place Ahead(Place place, int count, bool keepsTurn)
    {
        uint index = place.Index + (uint)count;
        return index < Size ? place with { Index = index } : new Place(index - Size, keepsTurn ? place.Turn : !place.Turn);
    }

    /// <summary>Reads the descriptors of the next chain, one behind the other. The identifier is in the last one.</summary>
    private HandChain Walk()
    {
        HandChain chain = new(Session, 0);
        Place at = _next;
        while (chain.Slots < Size)
        {
            Raw descriptor = Space.Ring<Raw>(Slot(at));
            ushort flags = descriptor.Fourth;
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
            at = Ahead(at, 1, keepsTurn: false);
            if (at.Index == 0 && Session.Is(Sin.ChainAcrossEndFails)) throw new HandFaultException("a chain across the end");
        }

        if (Session.Is(Sin.EndlessPackedChainWedges)) Session.IsWedged = true;
        throw new HandFaultException("a chain longer than the ring");
    }

    private HandChain Known(HandChain chain)
    {
        bool known = chain.Id < Size;
        return known ? chain : throw new HandFaultException($"identifier {chain.Id} of {Size}");
    }

    private bool PassedArea(Place old)
    {
        ushort flags = (ushort)(Space.Ring<ushort>(At.AvailableRing.Value + 2) & 3);
        if (flags == 1) return Session.Is(Sin.PackedCallsDespiteDisable);
        if (flags != 2 || !UsesEvents || Session.Is(Sin.PackedIgnoresEvent)) return true;
        Place wanted = Place.Of(Space.Ring<ushort>(At.AvailableRing.Value), uint.MaxValue);
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

    /// <summary>A position and its wrap counter.</summary>
    private readonly record struct Place(uint Index, bool Turn)
    {
        public ushort Word => (ushort)(Index | (Turn ? Wrap : 0u));

        public static Place Of(ushort word, uint size) => new((word & 0x7fffu) % size, (word & Wrap) != 0);
    }
}
