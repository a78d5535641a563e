using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests.Memory;

/// <summary>Pages from anywhere, seen one behind the other.</summary>
[Collection(ProcessCounts.Name)]
public sealed class JoinedMemoryTests : IDisposable
{
    private const ulong Page = 4096;

    private readonly GuestMemory _guest = GuestRam.Create((0x10_0000UL, 16 * Page), (0x80_0000UL, 16 * Page));

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void What_is_written_through_it_lies_in_each_of_its_pages_and_the_other_way_round()
    {
        using GuestMemoryLease lease = _guest.Acquire();
        MemoryPiece[] pieces = [Piece(0, 7, 1), Piece(1, 2, 3), Piece(0, 5, 1), Piece(0, 0, 2)];
        byte[] bytes = Enumerable.Range(0, (int)(7 * Page)).Select(static i => (byte)((i / (int)Page) + i)).ToArray();

        using JoinedMemory joined = JoinedMemory.Map(pieces, writable: true);
        MappedBytes.CopyFrom(bytes, joined.Address);

        int at = 0;
        foreach (MemoryPiece piece in pieces)
        {
            byte[] seen = new byte[piece.Length];
            lease.TryCopyTo(piece.GuestAddress, seen).Should().BeTrue();
            seen.Should().Equal(bytes[at..(at + seen.Length)]);
            at += seen.Length;
        }

        lease.TryWrite(pieces[2].GuestAddress, 0x1122_3344u).Should().BeTrue();
        byte[] back = new byte[4];
        MappedBytes.CopyTo(joined.Address + (nint)(4 * Page), back);
        back.Should().Equal(0x44, 0x33, 0x22, 0x11);
        joined.Count.Should().Be(4);
    }

    [Fact]
    public void It_begins_and_ends_where_its_first_and_last_piece_do()
    {
        using GuestMemoryLease lease = _guest.Acquire();
        MemoryPiece first = new(_guest.Regions[1], (3 * Page) + 96, Page - 96);
        MemoryPiece last = new(_guest.Regions[0], 9 * Page, 100);

        using JoinedMemory joined = JoinedMemory.Map([first, last], writable: true);
        MappedBytes.CopyFrom(Enumerable.Repeat((byte)7, (int)(Page - 96 + 100)).ToArray(), joined.Address);

        Read(lease, first.GuestAddress.Value - 1).Should().Be(0);
        Read(lease, first.GuestAddress.Value).Should().Be(7);
        Read(lease, last.GuestAddress.Value + 99).Should().Be(7);
        Read(lease, last.GuestAddress.Value + 100).Should().Be(0);
    }

    [Theory]
    [InlineData(Page - 8, 0UL)]
    [InlineData(Page, 8UL)]
    public void Pieces_that_meet_within_a_page_cannot_be_mapped_and_nothing_stays(ulong firstLength, ulong secondOffset)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        int reserved = AddressReservation.Live;
        Action map = () => JoinedMemory.Map([new(_guest.Regions[0], 0, firstLength), new(_guest.Regions[1], secondOffset, Page)], writable: false).Dispose();

        map.Should().Throw<VhostUserProtocolException>().WithMessage("*not whole pages*");

        AddressReservation.Live.Should().Be(reserved);
        before.AssertBack();
    }

    [Fact]
    public void The_same_pieces_are_recognised_and_others_are_not()
    {
        using JoinedMemory joined = JoinedMemory.Map([Piece(0, 1, 1), Piece(1, 1, 1)], writable: false);

        joined.IsOf([Piece(0, 1, 1), Piece(1, 1, 1)]).Should().BeTrue();
        joined.IsOf([Piece(1, 1, 1), Piece(0, 1, 1)]).Should().BeFalse();
        joined.IsOf([Piece(0, 1, 1)]).Should().BeFalse();
        joined.IsOf([Piece(0, 1, 1), Piece(1, 1, 2)]).Should().BeFalse();
    }

    private MemoryPiece Piece(int region, ulong page, ulong pages) => new(_guest.Regions[region], page * Page, pages * Page);

    private static byte Read(GuestMemoryLease lease, ulong at)
    {
        lease.TryRead(new GuestAddress(at), out byte value).Should().BeTrue();
        return value;
    }
}
