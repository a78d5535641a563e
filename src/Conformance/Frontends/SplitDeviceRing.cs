using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>The device's half of a split ring.</summary>
internal sealed class SplitDeviceRing : DeviceRing
{
    private ushort _next;

    public SplitDeviceRing(uint index, RingDescription description, LentMemory memory, NegotiatedState state, bool isHonest)
        : base(index, description, memory, state)
    {
        _next = UsedIndex = (ushort)description.Base;
        if (isHonest)
            CheckBase();
    }

    public override uint Base => _next;

    public ushort UsedIndex { get; private set; }

    public ushort AvailableIndex => ReadIndex(Available + 2);

    public override bool HasWaiting => AvailableIndex != _next;

    private ulong Available => Translate(Description.Address.AvailableRing, 6 + (2UL * Size), "the available ring");

    private ulong Used => Translate(Description.Address.UsedRing, 6 + (8UL * Size), "the used ring");

    public override DeviceChain? TryTake()
    {
        ushort available = AvailableIndex;
        ushort waiting = (ushort)(available - _next);
        Expect.That(waiting <= Size, $"at most {Size} available chains", $"the index is {waiting} ahead");
        if (waiting == 0)
            return null;
        Volatile.ReadBarrier();
        ushort head = Read<ushort>(Available + 4 + (2UL * (_next % Size)));
        _next++;
        return Walk(head);
    }

    public override void Use(DeviceChain chain, uint length) => Use(chain.Head, length);

    /// <summary>Says that a chain was used, which may be a lie.</summary>
    public void Use(uint head, uint length)
    {
        Write(Used + 4 + (8UL * (UsedIndex % Size)), head | ((ulong)length << 32));
        Volatile.WriteBarrier();
        Publish((ushort)(UsedIndex + 1));
    }

    /// <summary>Writes the used index, lies included, in one word with the flags before it, which are the device's and say that it wants all kicks.</summary>
    public void Publish(ushort used)
    {
        UsedIndex = used;
        Write(Used, (uint)used << 16);
    }

    /// <summary>Writes after which available entry a kick is wanted, lies included.</summary>
    public void WishKickAfter(ushort entry) => Write(Used + 4 + (8UL * Size), entry);

    /// <summary>Overwrites the head of an available entry, which is the driver's.</summary>
    public void OverwriteAvailable(ushort head)
    {
        byte[] bytes = new byte[sizeof(ushort) * Size];
        MemoryMarshal.Cast<byte, ushort>(bytes.AsSpan()).Fill(head);
        WriteBytes(Available + 4, bytes);
    }

    /// <summary>What was used was available before, and the base lies between the two.</summary>
    private void CheckBase()
    {
        ushort used = ReadIndex(Used + 2), available = AvailableIndex, at = _next;
        bool between = (ushort)(at - used) <= Size && (ushort)(available - at) <= Size;
        Expect.That(Description.Base <= ushort.MaxValue && between, $"a base of ring {Index} between its used index {used} and its available index {available}", $"{Description.Base}");
    }

    /// <summary>Reads an index out of its aligned word, which lies in the ring too. At an odd address, where none may be, there is no such word.</summary>
    private ushort ReadIndex(ulong at)
    {
        int before = (int)(at % sizeof(uint));
        return before % sizeof(ushort) == 0 ? (ushort)(Read<uint>(at - (uint)before) >> (8 * before)) : Read<ushort>(at);
    }

    private DeviceChain Walk(ushort head)
    {
        Expect.That(head < Size, $"available heads below the ring's size, {Size}", $"{head}");
        List<ChainBuffer> buffers = [];
        ushort? entry = head;
        while (entry is { } at)
        {
            Expect.That(at < Size, $"descriptors below {Size}", $"{at}");
            Expect.That(buffers.Count < Size, $"a chain of at most {Size} descriptors", "one that does not end");
            Descriptor descriptor = DescriptorAt(Descriptors, at);
            ushort flags = descriptor.Third;
            if ((flags & DriverRing.Indirect) != 0)
                AddTable(descriptor.Address, descriptor.Length, (flags & DriverRing.Next) != 0, isLinked: true, buffers);
            else
                Add(descriptor, flags, buffers);
            entry = (flags & DriverRing.Next) != 0 ? descriptor.Fourth : null;
        }

        return new DeviceChain(head, [.. buffers]);
    }
}
