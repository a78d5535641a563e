using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>An area for requests in flight, as the front-end keeps it, with the layout of split rings (vhost-user: Inflight I/O tracking). The back-end may write it at any time.</summary>
internal sealed class InflightArea : IDisposable
{
    private const int Header = 16;
    private const int Entry = 16;

    private readonly CaseMemory _memory;
    private readonly SharedMemory _file;

    /// <summary>Maps what a reply to GET_INFLIGHT_FD names. The descriptor stays the caller's.</summary>
    public InflightArea(VhostUserInflight said, SafeFileHandle descriptor)
    {
        Said = said;
        _file = SharedMemory.Map(Libc.Duplicate(descriptor), said.MmapOffset, said.MmapSize);
        _memory = new CaseMemory(_file);
    }

    /// <summary>What the reply said, which goes back with SET_INFLIGHT_FD.</summary>
    public VhostUserInflight Said { get; }

    public SafeFileHandle Descriptor => _file.Descriptor;

    /// <summary>The fewest bytes that hold the entries of so many rings of a size.</summary>
    public static ulong LeastSize(int rings, int size) => (ulong)rings * (ulong)(Header + (Entry * size));

    /// <summary>Bytes from the area of one ring to that of the next.</summary>
    public int Stride => (int)(Said.MmapSize / Said.QueueCount);

    public byte[] Contents => _memory.ReadBytes(0, (int)Said.MmapSize);

    public ushort Version(int ring) => _memory.Read<ushort>(At(ring) + 8);

    public ushort DescriptorCount(int ring) => _memory.Read<ushort>(At(ring) + 10);

    public ushort UsedIndex(int ring) => _memory.Read<ushort>(At(ring) + 14);

    public bool IsInFlight(int ring, uint head) => _memory.Read<byte>(EntryOf(ring, head)) != 0;

    /// <summary>Writes the header of a ring's area as a back-end left it that is gone.</summary>
    public void Leave(int ring, ushort size, ushort usedIndex, ushort lastBatchHead, ushort version = 1)
    {
        _memory.Write(At(ring) + 8, version);
        _memory.Write(At(ring) + 10, size);
        _memory.Write(At(ring) + 12, lastBatchHead);
        _memory.Write(At(ring) + 14, usedIndex);
    }

    /// <summary>Marks a request as in flight.</summary>
    public void Mark(int ring, uint head, ulong counter, ushort next = 0)
    {
        _memory.Write(EntryOf(ring, head), (byte)1);
        _memory.Write(EntryOf(ring, head) + 6, next);
        _memory.Write(EntryOf(ring, head) + 8, counter);
    }

    public void Fill(ReadOnlySpan<byte> bytes) => _memory.WriteBytes(0, bytes);

    public void Dispose() => _memory.Dispose();

    private ulong At(int ring) => (ulong)ring * (ulong)Stride;

    private ulong EntryOf(int ring, uint head) => At(ring) + Header + (Entry * head);
}
