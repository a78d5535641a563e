namespace Vhost.Conformance;

/// <summary>The same area with the layout of packed rings: a list of free entries, and a copy of each descriptor that is in flight (vhost-user: Inflight I/O tracking).</summary>
internal sealed class PackedInflightArea(InflightArea area)
{
    private const int Header = 32;
    private const int Entry = 32;

    public InflightArea Area => area;

    /// <summary>The fewest bytes that hold the entries of so many rings of a size.</summary>
    public static ulong LeastSize(int rings, int size) => (ulong)rings * (ulong)(Header + (Entry * size));

    /// <summary>The used position, with its wrap counter as bit 15.</summary>
    public ushort Used(int ring) => Position(ring, 16, 20);

    /// <summary>The used position as it was before the last batch.</summary>
    public ushort OldUsed(int ring) => Position(ring, 18, 21);

    public bool IsInFlight(int ring, int entry) => area.Read<byte>(EntryOf(ring, entry)) != 0;

    public ulong Counter(int ring, int entry) => area.Read<ulong>(EntryOf(ring, entry) + 8);

    public ushort Id(int ring, int entry) => area.Read<ushort>(EntryOf(ring, entry) + 16);

    public uint Length(int ring, int entry) => area.Read<uint>(EntryOf(ring, entry) + 20);

    public ulong Address(int ring, int entry) => area.Read<ulong>(EntryOf(ring, entry) + 24);

    /// <summary>Writes the area of a ring as a back-end left it that took nothing yet: every entry is free, linked to the next.</summary>
    public void LeaveEmpty(int ring, int size)
    {
        Say(ring, 1, size);
        for (int entry = 0; entry < size; entry++)
            Link(ring, entry, entry + 1);
        Leave(ring, 0, 0, PackedDriverRing.FirstWord, PackedDriverRing.FirstWord);
    }

    /// <summary>Writes of which version and for how many descriptors it is.</summary>
    public void Say(int ring, int version, int size)
    {
        area.Write(area.At(ring) + 8, (ushort)version);
        area.Write(area.At(ring) + 10, (ushort)size);
    }

    /// <summary>Writes which entry is free first and where the next used descriptor goes: as it will be, and as it was before the last batch.</summary>
    public void Leave(int ring, int free, int oldFree, ushort used, ushort oldUsed)
    {
        area.Write(area.At(ring) + 12, (ushort)free);
        area.Write(area.At(ring) + 14, (ushort)oldFree);
        area.Write(area.At(ring) + 16, (ushort)(used & 0x7fff));
        area.Write(area.At(ring) + 18, (ushort)(oldUsed & 0x7fff));
        area.Write(area.At(ring) + 20, (byte)(used >> 15));
        area.Write(area.At(ring) + 21, (byte)(oldUsed >> 15));
    }

    public void Link(int ring, int entry, int next) => area.Write(EntryOf(ring, entry) + 2, (ushort)next);

    /// <summary>Notes a request that was taken, in entries one behind the other, on the first turn of its ring.</summary>
    public void Note(int ring, int first, ushort id, ulong counter, ReadOnlySpan<ChainBuffer> chain)
    {
        RawDescriptor[] descriptors = RawDescriptor.Of(chain);
        for (int i = 0; i < descriptors.Length; i++)
        {
            long entry = EntryOf(ring, first + i);
            area.Write(entry + 16, id);
            area.Write(entry + 18, (ushort)(descriptors[i].Flags | PackedDriverRing.AvailableFlag));
            area.Write(entry + 20, descriptors[i].Length);
            area.Write(entry + 24, descriptors[i].Address);
        }

        long head = EntryOf(ring, first);
        area.Write(head + 4, (ushort)(first + descriptors.Length - 1));
        area.Write(head + 6, (ushort)descriptors.Length);
        area.Write(head + 8, counter);
        area.Write(head, (byte)1);
    }

    /// <summary>Marks an entry as the head of a request of so many descriptors.</summary>
    public void Claim(int ring, int entry, int descriptors)
    {
        area.Write(EntryOf(ring, entry) + 4, (ushort)descriptors);
        area.Write(EntryOf(ring, entry) + 6, (ushort)descriptors);
        area.Write(EntryOf(ring, entry), (byte)1);
        Link(ring, entry, descriptors);
    }

    private ushort Position(int ring, int index, int wrap) =>
        (ushort)(area.Read<ushort>(area.At(ring) + index) | (area.Read<byte>(area.At(ring) + wrap) << 15));

    private long EntryOf(int ring, int entry) => area.At(ring) + Header + (Entry * (long)entry);
}
