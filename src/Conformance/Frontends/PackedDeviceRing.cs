using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>The device's half of a packed ring.</summary>
internal sealed class PackedDeviceRing : DeviceRing
{
    private const ushort Both = PackedDriverRing.AvailableFlag | PackedDriverRing.UsedFlag;
    private const ushort Wrap = PackedDriverRing.FirstWord;

    private Place _next;
    private Place _used;

    public PackedDeviceRing(uint index, RingDescription description, LentMemory memory, NegotiatedState state)
        : base(index, description, memory, state)
    {
        _next = PlaceOf((ushort)description.Base);
        _used = description.Base > ushort.MaxValue ? PlaceOf((ushort)(description.Base >> 16)) : _next;
    }

    public override uint Base => (uint)(_next.Word | (_used.Word << 16));

    public override bool HasWaiting => IsAvailable(Read<ushort>(At(_next.Index) + 14));

    public override DeviceChain? TryTake()
    {
        if (!HasWaiting)
            return null;
        Volatile.ReadBarrier();
        List<ChainBuffer> buffers = [];
        for (uint slots = 1; ; slots++)
        {
            Expect.That(slots <= Size, $"a chain of at most {Size} descriptors", "one that does not end");
            Descriptor descriptor = DescriptorAt(Descriptors, Ahead(_next, slots - 1).Index);
            ushort flags = descriptor.Fourth;
            if ((flags & DriverRing.Indirect) != 0)
                AddTable(descriptor.Address, descriptor.Length, (flags & DriverRing.Next) != 0, isLinked: false, buffers);
            else
                Add(descriptor, flags, buffers);
            if ((flags & DriverRing.Next) != 0)
                continue;
            _next = Ahead(_next, slots);
            return new DeviceChain(descriptor.Third, [.. buffers]) { Slots = slots };
        }
    }

    public override void Use(DeviceChain chain, uint length)
    {
        Use(chain.Head, length);
        Skip(chain.Slots);
    }

    /// <summary>Writes a used descriptor at the used position, lies included.</summary>
    public void Use(ushort id, uint length) => Use(_used, id, length);

    /// <summary>Says that a chain was used, and once more behind that. The second one is written first: a driver that sees the first may fill the place of the other.</summary>
    public void UseTwice(DeviceChain chain, uint length)
    {
        Use(Ahead(_used, chain.Slots), chain.Head, length);
        Use(_used, chain.Head, length);
    }

    /// <summary>Writes nothing but the flags of a used descriptor: of this turn, or of the other.</summary>
    public void UseFlags(bool otherTurn) => UseFlags(_used.Index, _used.Turn != otherTurn);

    /// <summary>Moves the used position on.</summary>
    public void Skip(uint slots) => _used = Ahead(_used, slots);

    private void Use(Place place, ushort id, uint length)
    {
        Write(At(place.Index) + 8, length);
        Write(At(place.Index) + 12, id);
        Volatile.WriteBarrier();
        UseFlags(place.Index, place.Turn);
    }

    private void UseFlags(uint place, bool turn) => Write(At(place) + 14, (ushort)(DriverRing.Write | (turn ? Both : 0)));

    private ulong At(uint place) => Descriptors + ((ulong)DescriptorSize * place);

    private bool IsAvailable(ushort flags) =>
        (flags & PackedDriverRing.AvailableFlag) != 0 == _next.Turn && (flags & PackedDriverRing.UsedFlag) != 0 != _next.Turn;

    private Place PlaceOf(ushort word)
    {
        uint at = word & ~(uint)Wrap;
        Expect.That(at < Size, $"a position below {Size} in the base of ring {Index}", $"{at}");
        return new(at, (word & Wrap) != 0);
    }

    private Place Ahead(Place place, uint slots) => place.Index + slots < Size ? place with { Index = place.Index + slots } : new(place.Index + slots - Size, !place.Turn);

    private readonly record struct Place(uint Index, bool Turn)
    {
        public int Word => (int)Index | (Turn ? Wrap : 0);
    }
}
