using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// The device's half of a front-end's split ring, read and written word by word. The driver may write at any time into its part; everything of it is read once. A place that is not in the
/// memory that the front-end shared fails the case.
/// </summary>
internal sealed class DeviceRing(uint index, uint size, GuestMemory memory, VhostUserVringAddress address, ushort at) : IDisposable
{
    private readonly GuestMemoryLease _lease = memory.Acquire();
    private ushort _next = at;
    private ushort _used = at;

    public uint Index => index;

    public uint Size => size;

    /// <summary>What GET_VRING_BASE answers.</summary>
    public ushort Next => _next;

    public ushort AvailableIndex => Read<ushort>(Available + 2);

    private ulong Descriptors => Translate(address.DescriptorTable, 16UL * size, "the descriptor table");

    private ulong Available => Translate(address.AvailableRing, 6 + (2UL * size), "the available ring");

    private ulong Used => Translate(address.UsedRing, 6 + (8UL * size), "the used ring");

    /// <summary>Takes the next available chain; null: there is none.</summary>
    public DeviceChain? TryTake()
    {
        ushort available = AvailableIndex;
        ushort waiting = (ushort)(available - _next);
        Expect.That(waiting <= size, $"at most {size} available chains", $"the index is {waiting} ahead");
        if (waiting == 0)
            return null;
        Volatile.ReadBarrier();
        ushort head = Read<ushort>(Available + 4 + (2UL * (_next % size)));
        _next++;
        return Walk(head);
    }

    /// <summary>Says that a chain was used.</summary>
    public void Use(uint head, uint length)
    {
        WriteUsed(_used, head, length);
        _used++;
        Publish(_used);
    }

    /// <summary>Writes a used element, lies included, without publishing it.</summary>
    public void WriteUsed(ushort slot, uint head, uint length)
    {
        ulong element = Used + 4 + (8UL * (slot % size));
        Write(element, head);
        Write(element + 4, length);
        Volatile.WriteBarrier();
    }

    /// <summary>Writes the used index, lies included.</summary>
    public void Publish(ushort used)
    {
        _used = used;
        Write(Used + 2, used);
    }

    public ushort UsedIndex => _used;

    public void WriteBytes(ulong guestAddress, ReadOnlySpan<byte> bytes) =>
        Expect.That(_lease.TryCopyFrom(bytes, new GuestAddress(guestAddress)), "buffers in the shared memory", $"{bytes.Length} bytes at 0x{guestAddress:x}");

    public T Read<T>(ulong guestAddress)
        where T : unmanaged =>
        _lease.TryRead(new GuestAddress(guestAddress), out T value) ? value : throw Expect.Failed("rings and buffers in the shared memory", $"0x{guestAddress:x}");

    public void Dispose() => _lease.Dispose();

    private void Write<T>(ulong guestAddress, T value)
        where T : unmanaged =>
        Expect.That(_lease.TryWrite(new GuestAddress(guestAddress), value), "rings in the shared memory", $"0x{guestAddress:x}");

    private DeviceChain Walk(ushort head)
    {
        Expect.That(head < size, $"available heads below the ring's size, {size}", $"{head}");
        List<ChainBuffer> buffers = [];
        ulong table = Descriptors;
        uint entries = size;
        ushort entry = head;
        for (uint steps = 0; ; steps++)
        {
            Expect.That(steps < entries + size, $"a chain of at most {size} descriptors", "one that does not end");
            Expect.That(entry < entries, $"descriptors below {entries}", $"{entry}");
            ulong place = table + (16UL * entry);
            ulong target = Read<ulong>(place);
            uint length = Read<uint>(place + 8);
            ushort flags = Read<ushort>(place + 12);
            if ((flags & DriverRing.Indirect) != 0)
            {
                Expect.That(length > 0 && length % 16 == 0, "a table of descriptors of a multiple of 16 bytes", $"{length} bytes");
                (table, entries, entry) = (target, length / 16, 0);
                continue;
            }

            Expect.That(_lease.IsMapped(new GuestAddress(target), length), "buffers in the shared memory", $"{length} bytes at 0x{target:x}");
            buffers.Add(new(target, length, (flags & DriverRing.Write) != 0));
            if ((flags & DriverRing.Next) == 0)
                return new DeviceChain(head, [.. buffers]);
            entry = Read<ushort>(place + 14);
        }
    }

    private ulong Translate(UserAddress user, ulong length, string what) => memory.TryTranslate(user, length, out GuestAddress guest)
        ? guest.Value
        : throw Expect.Failed($"{what} of ring {index} in the shared memory", $"{length} bytes at 0x{user.Value:x}");
}
