using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// The device's half of a front-end's split ring, read and written word by word. The driver may write at any time into its part; everything of it is read once. A place that is not in the
/// memory that the front-end shared fails the case.
/// </summary>
internal sealed class DeviceRing : IDisposable
{
    private const int DescriptorSize = 16;

    private readonly RingDescription _description;
    private readonly GuestMemory _memory;
    private readonly GuestMemoryLease _lease;
    private readonly bool _indirect;

    /// <param name="index">Its number.</param>
    /// <param name="description">What was said of it.</param>
    /// <param name="memory">The memory in which it lies.</param>
    /// <param name="state">What is negotiated.</param>
    /// <param name="isHonest">Whether only what is so was said in the ring before; its indices are looked at then.</param>
    public DeviceRing(uint index, RingDescription description, GuestMemory memory, NegotiatedState state, bool isHonest)
    {
        (Index, _description, _memory, _lease) = (index, description, memory, memory.Acquire());
        _indirect = (state.Features & VirtioFeatures.IndirectDescriptors) != 0;
        Next = UsedIndex = (ushort)description.Base;
        if (isHonest)
            CheckBase();
    }

    public uint Index { get; }

    public uint Size => _description.Size;

    /// <summary>What GET_VRING_BASE answers.</summary>
    public ushort Next { get; private set; }

    public ushort UsedIndex { get; private set; }

    public ushort AvailableIndex => Read<ushort>(Available + 2);

    /// <summary>Whether a chain waits to be taken.</summary>
    public bool HasWaiting => AvailableIndex != Next;

    private ulong Descriptors => Translate(_description.Address.DescriptorTable, (ulong)DescriptorSize * Size, "the descriptor table");

    private ulong Available => Translate(_description.Address.AvailableRing, 6 + (2UL * Size), "the available ring");

    private ulong Used => Translate(_description.Address.UsedRing, 6 + (8UL * Size), "the used ring");

    /// <summary>Takes the next available chain; null: there is none.</summary>
    public DeviceChain? TryTake()
    {
        ushort available = AvailableIndex;
        ushort waiting = (ushort)(available - Next);
        Expect.That(waiting <= Size, $"at most {Size} available chains", $"the index is {waiting} ahead");
        if (waiting == 0)
            return null;
        Volatile.ReadBarrier();
        ushort head = Read<ushort>(Available + 4 + (2UL * (Next % Size)));
        Next++;
        return Walk(head);
    }

    /// <summary>Says that a chain was used.</summary>
    public void Use(uint head, uint length)
    {
        ulong element = Used + 4 + (8UL * (UsedIndex % Size));
        Write(element, head);
        Write(element + 4, length);
        Volatile.WriteBarrier();
        Publish((ushort)(UsedIndex + 1));
    }

    /// <summary>Writes the used index, lies included.</summary>
    public void Publish(ushort used)
    {
        UsedIndex = used;
        Write(Used + 2, used);
    }

    /// <summary>Writes after which available entry a kick is wanted, lies included.</summary>
    public void WishKickAfter(ushort entry) => Write(Used + 4 + (8UL * Size), entry);

    /// <summary>Overwrites the whole descriptor table, which is the driver's.</summary>
    public void OverwriteDescriptors(byte with)
    {
        byte[] bytes = new byte[DescriptorSize * Size];
        Array.Fill(bytes, with);
        WriteBytes(Descriptors, bytes);
    }

    /// <summary>Overwrites the head of an available entry, which is the driver's.</summary>
    public void OverwriteAvailable(ushort head)
    {
        for (uint entry = 0; entry < Size; entry++)
            Write(Available + 4 + (2UL * entry), head);
    }

    public void WriteBytes(ulong guestAddress, ReadOnlySpan<byte> bytes) =>
        Expect.That(_lease.TryCopyFrom(bytes, new GuestAddress(guestAddress)), "buffers in the shared memory", $"{bytes.Length} bytes at 0x{guestAddress:x}");

    public void Dispose() => _lease.Dispose();

    /// <summary>What was used was available before, and the base lies between the two.</summary>
    private void CheckBase()
    {
        ushort used = Read<ushort>(Used + 2), available = AvailableIndex, at = Next;
        bool between = (ushort)(at - used) <= Size && (ushort)(available - at) <= Size;
        Expect.That(_description.Base <= ushort.MaxValue && between, $"a base of ring {Index} between its used index {used} and its available index {available}", $"{_description.Base}");
    }

    private T Read<T>(ulong guestAddress)
        where T : unmanaged =>
        _lease.TryRead(new GuestAddress(guestAddress), out T value) ? value : throw Expect.Failed("rings and buffers in the shared memory", $"0x{guestAddress:x}");

    private void Write<T>(ulong guestAddress, T value)
        where T : unmanaged =>
        Expect.That(_lease.TryWrite(new GuestAddress(guestAddress), value), "rings in the shared memory", $"0x{guestAddress:x}");

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
            if (descriptor.Is(DriverRing.Indirect))
                WalkTable(descriptor, buffers);
            else
                Add(descriptor, buffers);
            entry = descriptor.Is(DriverRing.Next) ? descriptor.NextEntry : null;
        }

        return new DeviceChain(head, [.. buffers]);
    }

    private void WalkTable(Descriptor holder, List<ChainBuffer> buffers)
    {
        Expect.That(_indirect, "no indirect table where INDIRECT_DESC is not negotiated", "one");
        Expect.That(!holder.Is(DriverRing.Next), "no NEXT with INDIRECT", "both");
        Expect.That(holder.Length > 0 && holder.Length % DescriptorSize == 0, "a table of descriptors of a multiple of 16 bytes", $"{holder.Length} bytes");
        uint entries = holder.Length / DescriptorSize;
        ushort? entry = 0;
        for (uint steps = 0; entry is { } at; steps++)
        {
            Expect.That(at < entries, $"descriptors below {entries}, of an indirect table", $"{at}");
            Expect.That(steps < entries, $"a chain of at most {entries} descriptors in an indirect table", "one that does not end");
            Descriptor descriptor = DescriptorAt(holder.Address, at);
            Expect.That(!descriptor.Is(DriverRing.Indirect), "no indirect table in an indirect table", "one");
            Add(descriptor, buffers);
            entry = descriptor.Is(DriverRing.Next) ? descriptor.NextEntry : null;
        }
    }

    private void Add(Descriptor descriptor, List<ChainBuffer> buffers)
    {
        bool writable = descriptor.Is(DriverRing.Write);
        Expect.That(_lease.IsMapped(new GuestAddress(descriptor.Address), descriptor.Length), "buffers in the shared memory", $"{descriptor.Length} bytes at 0x{descriptor.Address:x}");
        Expect.That(writable || buffers.All(static buffer => !buffer.IsWritable), "all that the device reads before all that it writes", "a buffer to read after one to write");
        buffers.Add(new(descriptor.Address, descriptor.Length, writable));
    }

    private Descriptor DescriptorAt(ulong table, ushort entry)
    {
        ulong place = table + ((ulong)DescriptorSize * entry);
        return new(Read<ulong>(place), Read<uint>(place + 8), Read<ushort>(place + 12), Read<ushort>(place + 14));
    }

    private ulong Translate(UserAddress user, ulong length, string what) => _memory.TryTranslate(user, length, out GuestAddress guest)
        ? guest.Value
        : throw Expect.Failed($"{what} of ring {Index} in the shared memory", $"{length} bytes at 0x{user.Value:x}");

    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Descriptor(ulong Address, uint Length, ushort Flags, ushort NextEntry)
    {
        public bool Is(ushort flag) => (Flags & flag) != 0;
    }
}
