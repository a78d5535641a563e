using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

/// <summary>Lists of pieces of guest memory against arrays of bytes that say what they hold.</summary>
public sealed class GuestBuffersTests : IDisposable
{
    private const int Size = 1 << 16;

    private readonly GuestMemory _memory = GuestRam.Create(Size, at: 0x1000);
    private readonly GuestMemory _other = GuestRam.Create(Size, at: 0x8000);
    private readonly Random _random = new(11);

    public void Dispose()
    {
        _memory.Dispose();
        _other.Dispose();
    }

    [Fact]
    public void Bytes_go_from_one_guest_to_another_whatever_the_pieces()
    {
        for (int round = 0; round < 500; round++)
        {
            BufferSegment[] from = Pieces(_memory, 0x1000, out uint readable);
            BufferSegment[] to = Pieces(_other, 0x8000, out uint writable);
            byte[] source = Randomise(from, readable);
            byte[] target = Randomise(to, writable);
            uint skip = (uint)_random.Next((int)readable + 1);

            uint copied = new GuestBuffers(from, readable).Slice(skip).CopyTo(new GuestBuffers(to, writable));

            copied.Should().Be(Math.Min(readable - skip, writable));
            source.AsSpan((int)skip, (int)copied).CopyTo(target);
            Content(to, writable).AsSpan().SequenceEqual(target).Should().BeTrue("round {0}: {1} bytes", round, copied);
        }
    }

    [Fact]
    public void A_list_that_is_used_up_little_by_little_gives_the_same_bytes()
    {
        for (int round = 0; round < 500; round++)
        {
            BufferSegment[] pieces = Pieces(_memory, 0x1000, out uint length);
            byte[] content = Randomise(pieces, length);
            GuestBuffers.Mark mark = default;
            for (uint at = 0; ; at += (uint)_random.Next((int)Math.Min(length - at, 300) + 1))
            {
                GuestBuffers rest = new GuestBuffers(pieces, length).From(at, ref mark);
                byte[] read = new byte[rest.Length];
                rest.CopyTo(read).Should().Be((int)(length - at));
                read.AsSpan().SequenceEqual(content.AsSpan((int)at)).Should().BeTrue("round {0}: from {1} of {2}", round, at, length);
                if (at == length)
                    break;
            }
        }
    }

    [Fact]
    public void A_list_of_many_pieces_is_passed_over_once()
    {
        BufferSegment[] pieces = Pieces(_memory, 0x1000, out uint length);
        GuestBuffers.Mark mark = default;
        GuestBuffers all = new(pieces, length);
        all.From(length - 1, ref mark);

        mark.Segment.Should().Be(Array.FindLastIndex(pieces, piece => piece.Length > 0), "the next look begins here");
        ((Action)(() => new GuestBuffers(pieces, length).From(0, ref mark))).Should().Throw<ArgumentOutOfRangeException>("it never goes back");
    }

    [Fact]
    public void A_slice_is_the_bytes_of_its_range()
    {
        for (int round = 0; round < 500; round++)
        {
            BufferSegment[] pieces = Pieces(_memory, 0x1000, out uint length);
            byte[] content = Randomise(pieces, length);
            uint start = (uint)_random.Next((int)length + 1);
            uint count = (uint)_random.Next((int)(length - start) + 1);
            GuestBuffers slice = new GuestBuffers(pieces, length).Slice(start, count);
            byte[] read = new byte[count];
            slice.CopyTo(read).Should().Be((int)count);
            read.AsSpan().SequenceEqual(content.AsSpan((int)start, (int)count)).Should().BeTrue();

            _random.NextBytes(read);
            slice.CopyFrom(read).Should().Be((int)count);
            read.CopyTo(content.AsSpan((int)start));
            Content(pieces, length).AsSpan().SequenceEqual(content).Should().BeTrue("nothing beside the slice is written");
            slice.Fill(0x7E);
            content.AsSpan((int)start, (int)count).Fill(0x7E);
            Content(pieces, length).AsSpan().SequenceEqual(content).Should().BeTrue();
        }
    }

    [Fact]
    public void Values_are_read_and_written_across_pieces_or_not_at_all()
    {
        _memory.TryGetAddress(new GuestAddress(0x1000), 64, out nint address).Should().BeTrue();
        BufferSegment[] pieces = [new(address, 3), new(address + 10, 2), new(address + 20, 4)];
        GuestBuffers list = new(pieces, 9);
        list.TryWrite(0x0807_0605_0403_0201UL).Should().BeTrue();
        list.TryRead(out ulong value).Should().BeTrue();
        value.Should().Be(0x0807_0605_0403_0201UL);
        list.Slice(2).TryWrite(1UL).Should().BeFalse();
        list.Slice(2).TryRead(out ulong nothing).Should().BeFalse();
        nothing.Should().Be(0);
        Content(pieces, 9).Should().Equal(1, 2, 3, 4, 5, 6, 7, 8, 0);
    }

    /// <summary>Pieces of 1 to 100 bytes that do not overlap, in any order of addresses.</summary>
    private BufferSegment[] Pieces(GuestMemory memory, ulong start, out uint length)
    {
        BufferSegment[] pieces = new BufferSegment[_random.Next(1, 9)];
        length = 0;
        for (int i = 0; i < pieces.Length; i++)
        {
            uint count = (uint)_random.Next(1, 101);
            ulong at = start + (ulong)(i * 256) + (ulong)_random.Next(100);
            memory.TryGetAddress(new GuestAddress(at), count, out nint address).Should().BeTrue();
            pieces[i] = new BufferSegment(address, count);
            length += count;
        }

        _random.Shuffle(pieces);
        return pieces;
    }

    private byte[] Randomise(BufferSegment[] pieces, uint length)
    {
        byte[] bytes = new byte[length];
        _random.NextBytes(bytes);
        int done = 0;
        foreach (BufferSegment piece in pieces)
        {
            System.Runtime.InteropServices.Marshal.Copy(bytes, done, piece.Address, (int)piece.Length);
            done += (int)piece.Length;
        }

        return bytes;
    }

    private static byte[] Content(BufferSegment[] pieces, uint length)
    {
        byte[] bytes = new byte[length];
        int done = 0;
        foreach (BufferSegment piece in pieces)
        {
            System.Runtime.InteropServices.Marshal.Copy(piece.Address, bytes, done, (int)piece.Length);
            done += (int)piece.Length;
        }

        return bytes;
    }
}
