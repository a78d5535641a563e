using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>The driver's half of a split ring (virtio, Split Virtqueues).</summary>
internal sealed class SplitDriverRing(RingPlace place, Dialogue dialogue, TimeSpan patience) : DriverRing(place, dialogue, patience)
{
    private ushort _published;
    private ushort _taken;
    private ushort _free;

    public override bool IsPacked => false;

    public override VhostUserVringAddress Address => new((uint)Index, 0, User(DescriptorTable), User(UsedRing), User(AvailableRing), 0);

    public override uint Base => _published;

    public ulong DescriptorTable => At;

    public ulong AvailableRing => At + (16UL * (ulong)Size);

    public ulong UsedRing => (AvailableRing + 6 + (2UL * (ulong)Size) + 3) / 4 * 4;

    /// <summary>What the driver wishes of notifications; bit 0: none.</summary>
    public ushort AvailableFlags { get => Memory.Read<ushort>(AvailableRing); set => Memory.Write(AvailableRing, value); }

    public ushort AvailableIndex { get => Memory.Read<ushort>(AvailableRing + 2); set => PublishIndex(value); }

    public ushort UsedEvent { get => Memory.Read<ushort>(UsedEventAt); set => Memory.Write(UsedEventAt, value); }

    public ushort UsedFlags => Memory.Read<ushort>(UsedRing);

    public ushort UsedIndex => Memory.Read<ushort>(UsedRing + 2);

    public ushort AvailEvent => Memory.Read<ushort>(UsedRing + 4 + (8UL * (ulong)Size));

    private ulong UsedEventAt => AvailableRing + 4 + (2UL * (ulong)Size);

    public override bool TryTakeUsed(out UsedBuffer used)
    {
        used = default;
        if (UsedIndex == _taken)
            return false;
        Volatile.ReadBarrier();
        ulong element = UsedRing + 4 + (8UL * (ulong)(_taken % Size));
        used = new(Memory.Read<uint>(element), Memory.Read<uint>(element + 4));
        _taken++;
        return true;
    }

    public override void StartAt(uint ringBase)
    {
        _published = (ushort)ringBase;
        _taken = (ushort)ringBase;
        _free = 0;
        Memory.Write(UsedRing + 2, (ushort)ringBase);
        Memory.Write(AvailableRing + 2, (ushort)ringBase);
    }

    /// <summary>Writes a descriptor of the ring's own table.</summary>
    public void Descriptor(int at, ulong address, uint length, ushort flags, ushort next) =>
        Descriptor(DescriptorTable, at, address, length, flags, next);

    public void Descriptor(ulong table, int at, ulong address, uint length, ushort flags, ushort next)
    {
        ulong entry = table + (16UL * (ulong)at);
        Memory.Write(entry, address);
        Memory.Write(entry + 8, length);
        Memory.Write(entry + 12, flags);
        Memory.Write(entry + 14, next);
    }

    /// <summary>Makes a head available whatever its descriptor says.</summary>
    public void OfferHead(ushort head)
    {
        Memory.Write(AvailableRing + 4 + (2UL * (ulong)(_published % Size)), head);
        PublishIndex((ushort)(_published + 1));
    }

    /// <summary>Makes a chain available whose descriptors are at these places of the table.</summary>
    public uint OfferAt(ReadOnlySpan<int> places, params ReadOnlySpan<ChainBuffer> chain)
    {
        for (int i = 0; i < chain.Length; i++)
            Descriptor(places[i], chain[i].Address, chain[i].Length, FlagsOf(chain, i), (ushort)(i + 1 < chain.Length ? places[i + 1] : ushort.MaxValue));
        OfferHead((ushort)places[0]);
        return (uint)places[0];
    }

    public override byte[] DriverParts() => Memory.ReadBytes(At, (int)(AvailableRing - At) + 4 + (2 * Size));

    public override void WriteTable(ulong table, ReadOnlySpan<ChainBuffer> chain)
    {
        for (int i = 0; i < chain.Length; i++)
            Descriptor(table, i, chain[i].Address, chain[i].Length, FlagsOf(chain, i), (ushort)(i + 1));
    }

    protected override uint Publish(ReadOnlySpan<ChainBuffer> chain)
    {
        ushort head = _free;
        for (int i = 0; i < chain.Length; i++)
            Descriptor(Place(head + i), chain[i].Address, chain[i].Length, FlagsOf(chain, i), (ushort)Place(head + i + 1));
        _free = (ushort)Place(head + chain.Length);
        OfferHead(head);
        return head;
    }

    protected override uint PublishRaw(ReadOnlySpan<RawDescriptor> chain)
    {
        ushort head = _free;
        for (int i = 0; i < chain.Length; i++)
            Descriptor(Place(head + i), chain[i].Address, chain[i].Length, chain[i].Flags, (ushort)Place(head + i + 1));
        _free = (ushort)Place(head + chain.Length);
        OfferHead(head);
        return head;
    }

    protected override uint PublishOne(ulong address, uint length, ushort flags)
    {
        ushort head = _free;
        Descriptor(head, address, length, flags, 0);
        _free = (ushort)Place(head + 1);
        OfferHead(head);
        return head;
    }

    private static ushort FlagsOf(ReadOnlySpan<ChainBuffer> chain, int at) =>
        (ushort)((chain[at].IsWritable ? Write : 0) | (at + 1 < chain.Length ? Next : 0));

    private static UserAddress User(ulong address) => new(address + CaseMemory.UserOffset);

    private int Place(int at) => at % Size;

    private void PublishIndex(ushort value)
    {
        _published = value;
        Volatile.WriteBarrier(); // the entry before the index that makes it visible
        Memory.Write(AvailableRing + 2, value);
        Interlocked.MemoryBarrier(); // the index before the look at what the device wishes of kicks
    }
}
