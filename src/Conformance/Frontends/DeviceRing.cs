using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// The device's half of a front-end's ring, read and written word by word. The driver may write at any time into its part; everything of it is read once. A place that is not in the memory that the
/// front-end shared fails the case.
/// </summary>
internal abstract class DeviceRing
{
    protected const int DescriptorSize = 16;

    // No ring has more, and a front-end must not choose how long the suite walks.
    private const uint MostSize = 32_768;
    private const uint MostEntries = 65_536;

    private readonly RingDescription _description;
    private readonly LentMemory _memory;
    private readonly bool _indirect;

    protected DeviceRing(uint index, RingDescription description, LentMemory memory, NegotiatedState state)
    {
        Expect.That(description.Size <= MostSize, $"a size of ring {index} of at most {MostSize}", $"{description.Size}");
        (Index, _description, _memory) = (index, description, memory);
        _indirect = (state.Features & VirtioFeatures.IndirectDescriptors) != 0;
    }

    public uint Index { get; }

    public uint Size => _description.Size;

    /// <summary>What GET_VRING_BASE answers.</summary>
    public abstract uint Base { get; }

    /// <summary>Whether a chain waits to be taken.</summary>
    public abstract bool HasWaiting { get; }

    protected RingDescription Description => _description;

    protected ulong Descriptors => Translate(_description.Address.DescriptorTable, (ulong)DescriptorSize * Size, "the descriptor table");

    /// <param name="index">Its number.</param>
    /// <param name="description">What was said of it.</param>
    /// <param name="memory">The memory in which it lies. Borrowed: it outlives the ring.</param>
    /// <param name="state">What is negotiated, the format too.</param>
    /// <param name="isHonest">Whether only what is so was said in the ring before; its indices are looked at then.</param>
    public static DeviceRing Of(uint index, RingDescription description, LentMemory memory, NegotiatedState state, bool isHonest) => (state.Features & VirtioFeatures.RingPacked) != 0
        ? new PackedDeviceRing(index, description, memory, state)
        : new SplitDeviceRing(index, description, memory, state, isHonest);

    /// <summary>Takes the next available chain; null: there is none.</summary>
    public abstract DeviceChain? TryTake();

    /// <summary>Says that a chain was used.</summary>
    public abstract void Use(DeviceChain chain, uint length);

    /// <summary>Overwrites all descriptors, which the driver wrote.</summary>
    public void OverwriteDescriptors(byte with)
    {
        byte[] bytes = new byte[DescriptorSize * Size];
        Array.Fill(bytes, with);
        WriteBytes(Descriptors, bytes);
    }

    public void WriteBytes(ulong guestAddress, ReadOnlySpan<byte> bytes) => _memory.Write(guestAddress, bytes);

    protected T Read<T>(ulong guestAddress)
        where T : unmanaged =>
        _memory.Read<T>(guestAddress);

    protected void Write<T>(ulong guestAddress, T value)
        where T : unmanaged =>
        _memory.Write(guestAddress, value);

    /// <summary>Adds the buffers of an indirect table. In a packed ring they follow one another; in a split ring one names the next.</summary>
    protected void AddTable(ulong table, uint length, bool hasNext, bool isLinked, List<ChainBuffer> buffers)
    {
        Expect.That(_indirect, "no indirect table where INDIRECT_DESC is not negotiated", "one");
        Expect.That(!hasNext, "no NEXT with INDIRECT", "both");
        Expect.That(length > 0 && length % DescriptorSize == 0, "a table of descriptors of a multiple of 16 bytes", $"{length} bytes");
        uint entries = length / DescriptorSize;
        Expect.That(entries <= MostEntries, $"an indirect table of at most {MostEntries} descriptors", $"one of {entries}");
        uint? entry = 0;
        for (uint steps = 0; entry is { } at && (isLinked || at < entries); steps++)
        {
            Expect.That(at < entries, $"descriptors below {entries}, of an indirect table", $"{at}");
            Expect.That(steps < entries, $"a chain of at most {entries} descriptors in an indirect table", "one that does not end");
            Descriptor descriptor = DescriptorAt(table, at);
            ushort flags = isLinked ? descriptor.Third : descriptor.Fourth;
            Expect.That((flags & DriverRing.Indirect) == 0, "no indirect table in an indirect table", "one");
            Add(descriptor, flags, buffers);
            entry = !isLinked ? at + 1 : (flags & DriverRing.Next) != 0 ? descriptor.Fourth : null;
        }
    }

    protected void Add(Descriptor descriptor, ushort flags, List<ChainBuffer> buffers)
    {
        bool writable = (flags & DriverRing.Write) != 0;
        Expect.That(_memory.Contains(descriptor.Address, descriptor.Length), "buffers in the shared memory", $"{descriptor.Length} bytes at 0x{descriptor.Address:x}");
        Expect.That(writable || buffers is not [.., { IsWritable: true }], "all that the device reads before all that it writes", "a buffer to read after one to write");
        buffers.Add(new(descriptor.Address, descriptor.Length, writable));
    }

    protected Descriptor DescriptorAt(ulong table, uint entry) => Read<Descriptor>(table + ((ulong)DescriptorSize * entry));

    protected ulong Translate(UserAddress user, ulong length, string what) => _memory.TryTranslate(user, length, out ulong guest)
        ? guest
        : throw Expect.Failed($"{what} of ring {Index} in the shared memory", $"{length} bytes at 0x{user.Value:x}");

    /// <summary>Sixteen bytes. Third and fourth are flags and next of a split ring, id and flags of a packed one.</summary>
    [StructLayout(LayoutKind.Sequential, Size = DescriptorSize)]
    protected readonly record struct Descriptor(ulong Address, uint Length, ushort Third, ushort Fourth);
}
