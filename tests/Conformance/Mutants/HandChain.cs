using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>One request: what its descriptors lead to.</summary>
internal sealed class HandChain(HandSession session, ushort id)
{
    private readonly List<HandSegment> _readable = [];
    private readonly List<HandSegment> _writable = [];

    /// <summary>The head, or the buffer identifier of a packed ring.</summary>
    public ushort Id { get; set; } = id;

    /// <summary>Descriptors of the ring itself.</summary>
    public int Slots { get; set; }

    /// <summary>Those of a packed ring themselves.</summary>
    public List<HandDescriptor> Descriptors { get; } = [];

    /// <summary>Where an in-flight area of packed rings has noted it.</summary>
    public ushort Entry { get; set; }

    public ulong ReadableLength { get; private set; }

    public ulong WritableLength { get; private set; }

    public void Add(ulong address, uint length, bool writable)
    {
        if (!writable && _writable.Count > 0)
            throw new HandFaultException("a readable descriptor behind a writable one");
        session.Space.Locate(address, length, writable, writable ? _writable : _readable);
        if (writable) WritableLength += length;
        else ReadableLength += length;
    }

    /// <summary>Copies what the driver wrote.</summary>
    public void Read(ulong offset, Span<byte> into)
    {
        foreach ((GuestAddress at, int from, int count) in Pieces(_readable, offset, into.Length))
            _ = session.Space.TryRead(at, into.Slice(from, count));
    }

    /// <summary>Writes for the driver, and notes the pages.</summary>
    public void Write(ulong offset, ReadOnlySpan<byte> bytes)
    {
        foreach ((GuestAddress at, int from, int count) in Pieces(_writable, offset, bytes.Length))
        {
            if (session.Space.TryWrite(at, bytes.Slice(from, count))) session.Log.Mark(at, (uint)count);
        }
    }

    /// <summary>Writes where only the driver may.</summary>
    public void SpoilReadable(ReadOnlySpan<byte> bytes)
    {
        if (_readable.Count > 0) session.Space.TryWrite(_readable[0].Address, bytes);
    }

    private static List<(GuestAddress At, int From, int Count)> Pieces(List<HandSegment> segments, ulong offset, int length)
    {
        List<(GuestAddress, int, int)> pieces = [];
        int done = 0;
        foreach (HandSegment segment in segments)
        {
            if (done == length) break;
            if (offset >= segment.Length)
            {
                offset -= segment.Length;
                continue;
            }

            int count = (int)Math.Min((ulong)(length - done), segment.Length - offset);
            pieces.Add((new GuestAddress(segment.Address.Value + offset), done, count));
            (done, offset) = (done + count, 0);
        }

        return pieces;
    }
}
