using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>The driver's half of a packed ring (virtio, Packed Virtqueues).</summary>
internal sealed class PackedDriverRing(RingPlace place, Dialogue dialogue, TimeSpan patience) : DriverRing(place, dialogue, patience)
{
    /// <summary>The base of a new ring: both positions 0, both wrap counters 1.</summary>
    public const uint FirstBase = 0x8000_8000;

    /// <summary>One half of it.</summary>
    public const ushort FirstWord = 0x8000;

    /// <summary>Equal to the driver's wrap counter: available.</summary>
    public const ushort AvailableFlag = 1 << 7;

    /// <summary>Equal to the device's wrap counter, as <see cref="AvailableFlag"/> is: used.</summary>
    public const ushort UsedFlag = 1 << 15;

    private readonly Dictionary<uint, int> _lengths = [];
    private int _next;
    private bool _wrap = true;
    private int _usedNext;
    private bool _usedWrap = true;
    private uint _id;

    public override bool IsPacked => true;

    public override VhostUserVringAddress Address => new((uint)Index, 0, User(DescriptorRing), User(DeviceArea), User(DriverArea), 0);

    public override uint Base => Half(_next, _wrap) | (Half(_usedNext, _usedWrap) << 16);

    public ulong DescriptorRing => At;

    public ulong DriverArea => At + (16UL * (ulong)Size);

    public ulong DeviceArea => DriverArea + 4;

    /// <summary>Position and wrap counter in the low half, flags in the high half (0: notify always, 1: never, 2: at the position).</summary>
    public uint DriverEvent { get => Memory.Read<uint>(DriverArea); set => Memory.Write(DriverArea, value); }

    public uint DeviceEvent => Memory.Read<uint>(DeviceArea);

    /// <summary>The next place that the driver fills.</summary>
    public int NextPlace => _next;

    /// <summary>The driver's wrap counter.</summary>
    public bool Wrap => _wrap;

    public override bool TryTakeUsed(out UsedBuffer used)
    {
        used = default;
        ushort flags = Memory.Read<ushort>(PlaceOf(_usedNext) + 14);
        if ((flags & AvailableFlag) != 0 != _usedWrap || (flags & UsedFlag) != 0 != _usedWrap)
            return false;
        Volatile.ReadBarrier();
        uint written = (flags & Write) != 0 ? Memory.Read<uint>(PlaceOf(_usedNext) + 8) : 0; // without the flag the length says nothing
        used = new(Memory.Read<ushort>(PlaceOf(_usedNext) + 12), written);
        Skip(ref _usedNext, ref _usedWrap, _lengths.GetValueOrDefault(used.Id, 1));
        return true;
    }

    public override void StartAt(uint ringBase)
    {
        _next = (int)(ringBase & 0x7fff);
        _wrap = (ringBase & 0x8000) != 0;
        _usedNext = _next;
        _usedWrap = _wrap;
        _lengths.Clear();
        Memory.Fill(DescriptorRing, 16 * Size, 0);
        for (int i = 0; i < Size; i++) // neither available nor used on this turn
            Memory.Write(PlaceOf(i) + 14, (ushort)(i < _next == _wrap ? AvailableFlag | UsedFlag : 0));
    }

    /// <summary>Writes a descriptor of the ring, its flags last.</summary>
    public void Descriptor(int at, ulong address, uint length, ushort id, ushort flags)
    {
        ulong entry = PlaceOf(at);
        Memory.Write(entry, address);
        Memory.Write(entry + 8, length);
        Memory.Write(entry + 12, id);
        Volatile.WriteBarrier();
        Memory.Write(entry + 14, flags);
    }

    /// <summary>Makes one descriptor available at the next place, whatever it says.</summary>
    public void OfferDescriptor(ulong address, uint length, ushort id, ushort flags)
    {
        Descriptor(_next, address, length, id, (ushort)(flags | Availability(_wrap)));
        _lengths[id] = 1;
        Skip(ref _next, ref _wrap, 1);
        Interlocked.MemoryBarrier();
    }

    /// <summary>Makes a chain available under an id of the caller's choice.</summary>
    public uint OfferAs(ushort id, params ReadOnlySpan<ChainBuffer> chain) => Publish(id, id, chain);

    /// <summary>The same with another id in all descriptors but the last.</summary>
    public uint OfferAs(ushort id, ushort otherId, params ReadOnlySpan<ChainBuffer> chain) => Publish(id, otherId, chain);

    /// <summary>Writes the used descriptor that a device wrote which is gone, and takes it.</summary>
    public void UseForDevice(ushort id)
    {
        Descriptor(_usedNext, 0, 0, id, _usedWrap ? (ushort)(AvailableFlag | UsedFlag) : (ushort)0);
        TryTakeUsed(out _);
    }

    /// <summary>The flags of the descriptor at a place.</summary>
    public ushort FlagsAt(int place) => Memory.Read<ushort>(PlaceOf(place) + 14);

    /// <summary>Where the device writes its next used descriptor.</summary>
    public int UsedPlace => _usedNext;

    /// <summary>The device's wrap counter as the driver expects it.</summary>
    public bool UsedWrap => _usedWrap;

    public override byte[] DriverParts() => Memory.ReadBytes(DriverArea, 4);

    public override void WriteTable(ulong table, ReadOnlySpan<ChainBuffer> chain)
    {
        for (int i = 0; i < chain.Length; i++)
        {
            ulong entry = table + (16UL * (ulong)i);
            Memory.Write(entry, chain[i].Address);
            Memory.Write(entry + 8, chain[i].Length);
            Memory.Write(entry + 12, (ushort)0);
            Memory.Write(entry + 14, (ushort)(chain[i].IsWritable ? Write : 0));
        }
    }

    protected override uint Publish(ReadOnlySpan<ChainBuffer> chain)
    {
        ushort id = NextId();
        return Publish(id, id, chain);
    }

    protected override uint PublishRaw(ReadOnlySpan<RawDescriptor> chain)
    {
        ushort id = NextId();
        return Publish(id, id, chain);
    }

    private uint Publish(ushort id, ushort otherId, ReadOnlySpan<ChainBuffer> chain) => Publish(id, otherId, RawDescriptor.Of(chain));

    private uint Publish(ushort id, ushort otherId, ReadOnlySpan<RawDescriptor> chain)
    {
        int head = _next;
        ushort headFlags = (ushort)(chain[0].Flags | Availability(_wrap)); // written last: it makes the whole chain visible
        int at = _next;
        bool wrap = _wrap;
        for (int i = 0; i < chain.Length; i++)
        {
            ushort flags = i == 0 ? Availability(!wrap) : (ushort)(chain[i].Flags | Availability(wrap));
            Descriptor(at, chain[i].Address, chain[i].Length, i + 1 < chain.Length ? otherId : id, flags);
            Skip(ref at, ref wrap, 1);
        }

        Volatile.WriteBarrier();
        Memory.Write(PlaceOf(head) + 14, headFlags);
        Interlocked.MemoryBarrier();
        (_next, _wrap, _lengths[id]) = (at, wrap, chain.Length);
        return id;
    }

    protected override uint PublishOne(ulong address, uint length, ushort flags)
    {
        ushort id = NextId();
        OfferDescriptor(address, length, id, flags);
        return id;
    }

    private static ushort Availability(bool wrap) => wrap ? AvailableFlag : UsedFlag;

    private static uint Half(int at, bool wrap) => (uint)at | (wrap ? 0x8000u : 0);

    private static UserAddress User(ulong address) => new(address + CaseMemory.UserOffset);

    private ushort NextId() => (ushort)(_id++ % (uint)Size);

    private ulong PlaceOf(int at) => DescriptorRing + (16UL * (ulong)at);

    private void Skip(ref int at, ref bool wrap, int count)
    {
        at += count;
        if (at < Size)
            return;
        at -= Size;
        wrap = !wrap;
    }
}
