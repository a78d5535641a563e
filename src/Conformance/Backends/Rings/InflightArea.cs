using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// An area for requests in flight, as the front-end keeps it, with the layout of split rings; <see cref="PackedInflightArea"/> has that of packed ones (vhost-user: Inflight I/O tracking). The back-end may write it at any time, and it is the back-end's file:
/// it is read and written as a file, not mapped, since one that shrinks would end this process.
/// </summary>
internal sealed class InflightArea : IDisposable
{
    private const int Header = 16;
    private const int Entry = 16;
    private const ulong Most = 16 << 20;

    private readonly SafeFileHandle _file;

    /// <summary>Keeps what a reply to GET_INFLIGHT_FD names. The descriptor stays the caller's.</summary>
    public InflightArea(VhostUserInflight said, SafeFileHandle descriptor)
    {
        Expect.That(said.MmapSize <= Most && said.MmapOffset <= Most, $"an area of at most {Most} bytes", $"{said.MmapSize} bytes at {said.MmapOffset}");
        // To read or write anything else may take for ever.
        Expect.That(DescriptorInfo.Kind(descriptor) == FileKind.Regular, "an area that is a file", "the descriptor is of another kind");
        Said = said;
        _file = Libc.Duplicate(descriptor);
    }

    /// <summary>What the reply said, which goes back with SET_INFLIGHT_FD.</summary>
    public VhostUserInflight Said { get; }

    public SafeFileHandle Descriptor => _file;

    /// <summary>The fewest bytes that hold the entries of so many rings of a size.</summary>
    public static ulong LeastSize(int rings, int size) => (ulong)rings * (ulong)(Header + (Entry * size));

    /// <summary>Bytes from the area of one ring to that of the next.</summary>
    public int Stride => (int)(Said.MmapSize / Said.QueueCount);

    public byte[] Contents => ReadBytes(0, (int)Said.MmapSize);

    public ushort Version(int ring) => Read<ushort>(At(ring) + 8);

    public ushort DescriptorCount(int ring) => Read<ushort>(At(ring) + 10);

    public ushort UsedIndex(int ring) => Read<ushort>(At(ring) + 14);

    public ulong Counter(int ring, uint head) => Read<ulong>(EntryOf(ring, head) + 8);

    public bool IsInFlight(int ring, uint head) => Read<byte>(EntryOf(ring, head)) != 0;

    /// <summary>Writes the header of a ring's area as a back-end left it that is gone.</summary>
    public void Leave(int ring, ushort size, ushort usedIndex, ushort lastBatchHead, ushort version = 1)
    {
        Write(At(ring) + 8, version);
        Write(At(ring) + 10, size);
        Write(At(ring) + 12, lastBatchHead);
        Write(At(ring) + 14, usedIndex);
    }

    /// <summary>Marks a request as in flight.</summary>
    public void Mark(int ring, uint head, ulong counter, ushort next = 0)
    {
        Write(EntryOf(ring, head), (byte)1);
        Write(EntryOf(ring, head) + 6, next);
        Write(EntryOf(ring, head) + 8, counter);
    }

    public void Fill(ReadOnlySpan<byte> bytes) => WriteBytes(0, bytes);

    public void Dispose() => _file.Dispose();

    /// <summary>Where the area of a ring begins.</summary>
    public long At(int ring) => (long)ring * Stride;

    private long EntryOf(int ring, uint head) => At(ring) + Header + (Entry * (long)head);

    public T Read<T>(long at)
        where T : unmanaged
    {
        T value = default;
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<T>(ref value));
        ReadBytes(at, bytes.Length).CopyTo(bytes);
        return value;
    }

    private byte[] ReadBytes(long at, int length)
    {
        byte[] bytes = new byte[length];
        int read = Guarded(() => RandomAccess.Read(_file, bytes, (long)Said.MmapOffset + at), "read");
        Expect.That(read == length, $"an area of {Said.MmapSize} bytes, as the reply says", $"its file ends at byte {at + read}");
        return bytes;
    }

    public void Write<T>(long at, T value)
        where T : unmanaged => WriteBytes(at, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));

    private void WriteBytes(long at, ReadOnlySpan<byte> bytes)
    {
        byte[] written = bytes.ToArray();
        _ = Guarded(
            () =>
            {
                RandomAccess.Write(_file, written, (long)Said.MmapOffset + at);
                return written.Length;
            },
            "written");
    }

    // The file is the peer's, and what it is no good for is the peer's fault.
    private static int Guarded(Func<int> act, string what)
    {
        try
        {
            return act();
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            throw Expect.Failed($"an area that can be {what}", failure.Message);
        }
    }
}
