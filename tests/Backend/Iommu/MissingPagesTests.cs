using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Iommu;

/// <summary>What a ring asks for when its chains lack translations, without a worker.</summary>
public sealed class MissingPagesTests : IDisposable
{
    private const ulong Size = 1 << 20;
    private const ulong Page = 4096;
    private const ulong RingAt = 0x1_0000;
    private const ulong DataAt = 0x8_0000;
    private const ulong Elsewhere = 0x7777_0000_0000;
    private const VhostUserIotlbPermission Read = VhostUserIotlbPermission.ReadOnly;
    private const VhostUserIotlbPermission Write = VhostUserIotlbPermission.WriteOnly;

    private readonly GuestMemory _memory = GuestRam.Create(Size);
    private readonly DeviceIotlb _iotlb = new(1024, 256, new IotlbCounters(), () => { });
    private HandRing? _ring;
    private DeviceVirtqueue? _queue;

    public void Dispose()
    {
        _queue?.Deactivate();
        _ring?.Dispose();
        _iotlb.Dispose();
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void All_that_a_chain_lacks_is_asked_for_in_one_round(bool packed)
    {
        (HandRing ring, DeviceVirtqueue queue) = Start(packed);
        ring.OfferMixed(4, Pieces(first: 0, count: 8));

        queue.TryPop(out _).Should().BeFalse();

        Asked().Should().Equal([.. Enumerable.Range(0, 8).Select(static i => new TranslationMiss(At(i), i < 4 ? Read : Write))]);
        for (int answered = 1; answered < 8; answered++)
        {
            Answer(answered - 1);
            queue.TryPop(out _).Should().BeFalse();
            Asked().Should().BeEmpty("the others were asked for already");
        }

        Answer(7);
        queue.TryPop(out DescriptorChain chain).Should().BeTrue();
        (chain.Readable.Length, chain.Writable.Length).Should().Be((256u, 256u));
        queue.Complete(chain, 0);
        queue.Fault.Should().Be(VirtqueueFault.None);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_the_buffers_of_an_indirect_table_lack_is_asked_for_in_one_round(bool packed)
    {
        (HandRing ring, DeviceVirtqueue queue) = Start(packed);
        Map(DataAt, DataAt, Page);
        queue.MoveToNewest();
        ring.OfferIndirect(DataAt, deviceWrites: true, Pieces(first: 0, count: 8));

        queue.TryPop(out _).Should().BeFalse();

        Asked().Should().Equal([.. Enumerable.Range(0, 8).Select(static i => new TranslationMiss(At(i), Write))]);
    }

    /// <summary>The first entry lies on the border of two pages.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_indirect_table_in_several_pages_is_read_wherever_each_of_them_leads(bool packed)
    {
        const int Entries = 300;
        const ulong Table = 0x4_0FF8;
        (HandRing ring, DeviceVirtqueue queue) = Start(packed, size: 512);
        using GuestMemoryLease lease = _memory.Acquire();
        for (uint i = 0; i < Entries; i++)
            lease.TryWrite(new GuestAddress(DataAt + (4 * i)), i).Should().BeTrue();
        Map(Elsewhere, DataAt, Page);
        queue.MoveToNewest();
        (ulong At, int Length)[] pieces = [.. Enumerable.Range(0, Entries).Select(static i => (Elsewhere + (4 * Shuffled(i)), 4))];
        ring.OfferIndirect(Table, deviceWrites: false, pieces);

        queue.TryPop(out _).Should().BeFalse();
        Asked().Should().Equal(new TranslationMiss(Table, Read), new TranslationMiss(0x4_1000, Read), new TranslationMiss(0x4_2000, Read));

        // Each page is moved: what lies behind it in memory is none of the table's.
        ulong moved = 0xA_0000;
        foreach (ulong page in (ulong[])[0x4_0000, 0x4_2000, 0x4_1000])
        {
            byte[] bytes = new byte[Page];
            lease.TryCopyTo(new GuestAddress(page), bytes).Should().BeTrue();
            lease.TryCopyFrom(bytes, new GuestAddress(moved)).Should().BeTrue();
            bytes.AsSpan().Fill(0xEE);
            lease.TryCopyFrom(bytes, new GuestAddress(page)).Should().BeTrue();
            queue.TryPop(out _).Should().BeFalse("a page is missing still");
            Map(page, moved, Page);
            queue.MoveToNewest();
            moved += 3 * Page;
        }

        queue.TryPop(out DescriptorChain chain).Should().BeTrue(queue.FaultDetail ?? "all of it is there");
        byte[] read = new byte[chain.Readable.Length];
        chain.Readable.CopyTo(read);
        read.Should().Equal([.. Enumerable.Range(0, Entries).SelectMany(static i => BitConverter.GetBytes((uint)Shuffled(i)))]);
        queue.Complete(chain, 0);
        Asked().Should().BeEmpty();
    }

    [Theory]
    [InlineData(false, 0, 2)]
    [InlineData(false, 3, 3)]
    [InlineData(false, 64, 6)]
    [InlineData(true, 0, 2)]
    [InlineData(true, 3, 3)]
    [InlineData(true, 64, 6)]
    public void What_the_chains_behind_lack_is_asked_for_along_as_far_as_there_is_room_for_the_answers(bool packed, int mostAhead, int asked)
    {
        (HandRing ring, DeviceVirtqueue queue) = Start(packed, mostAhead: mostAhead);
        uint atFirst = queue.Base;
        for (int chain = 0; chain < 3; chain++)
            ring.OfferMixed(1, Pieces(first: 2 * chain, count: 2));

        queue.TryPop(out _).Should().BeFalse();

        Asked().Select(static miss => miss.Address).Should().Equal([.. Enumerable.Range(0, asked).Select(At)]);
        queue.Base.Should().Be(atFirst, "all of them stay on the ring");
        for (int piece = 5; piece > 0; piece--)
        {
            Answer(piece);
            queue.TryPop(out _).Should().BeFalse("the first comes first");
        }

        Answer(0);
        for (uint number = 0; number < 3; number++)
        {
            queue.TryPop(out DescriptorChain chain).Should().BeTrue();
            ((uint)chain.Head).Should().Be(packed ? number : 2 * number);
            queue.Complete(chain, 0);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_is_wrong_behind_a_page_that_is_missing_is_found_when_that_has_come(bool packed)
    {
        (HandRing ring, DeviceVirtqueue queue) = Start(packed);
        ring.OfferMixed(2, (At(0), 64), (ulong.MaxValue - 10, 64));

        queue.TryPop(out _).Should().BeFalse();
        Asked().Should().ContainSingle();
        queue.Fault.Should().Be(VirtqueueFault.None);

        Answer(0);
        queue.TryPop(out _).Should().BeFalse();
        Asked().Should().BeEmpty();
        queue.Fault.Should().Be(VirtqueueFault.BufferOutsideMemory);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_page_that_one_chain_reads_and_writes_is_asked_for_once_with_both(bool packed)
    {
        (HandRing ring, DeviceVirtqueue queue) = Start(packed);
        ring.OfferMixed(1, (At(0), 16), (At(1), 64), (At(0) + 16, 1));

        queue.TryPop(out _).Should().BeFalse();

        Asked().Should().Equal(new TranslationMiss(At(0), Read | Write), new TranslationMiss(At(1), Write));
    }

    /// <summary>A page that nobody may write is never told as writable: who only reads it must not wait for that.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_chain_that_reads_does_not_wait_for_one_behind_it_that_writes_to_the_same_page(bool packed)
    {
        (HandRing ring, DeviceVirtqueue queue) = Start(packed, mostAhead: 64);
        ring.OfferMixed(1, (At(0), 16));
        ring.OfferMixed(0, (At(0) + 16, 16));
        ring.OfferMixed(1, (At(0) + 32, 16));

        queue.TryPop(out _).Should().BeFalse();

        Asked().Should().Equal(new TranslationMiss(At(0), Read), new TranslationMiss(At(0) + 16, Write));
        Map(At(0), DataAt, Page, Read);
        queue.MoveToNewest();
        queue.TryPop(out DescriptorChain chain).Should().BeTrue();
        queue.Complete(chain, 0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void B32_a_chain_of_many_pages_asks_for_so_many_at_a_time(bool packed)
    {
        (HandRing ring, DeviceVirtqueue queue) = Start(packed, size: 256);
        ring.OfferMixed(200, Pieces(first: 0, count: 200));
        List<int> rounds = [];
        int answered = 0;
        while (!queue.TryPop(out _))
        {
            rounds.Add(Asked().Count);
            rounds[^1].Should().BePositive("it must get further");
            for (int i = 0; i < rounds[^1]; i++)
                Map(At(answered), DataAt + ((ulong)(answered++ % 32) * Page), Page);
            queue.MoveToNewest();
        }

        rounds.Should().Equal(64, 64, 64, 8);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void B32_a_chain_that_names_one_page_again_and_again_costs_no_more_than_one_that_is_there(bool packed)
    {
        const int Pieces = 4000;
        (HandRing ring, DeviceVirtqueue queue) = Start(packed, size: 4096);
        ring.OfferMixed(Pieces, [.. Enumerable.Repeat((Elsewhere, 1), Pieces)]);

        queue.TryPop(out _).Should().BeFalse();

        Asked().Should().Equal(new TranslationMiss(Elsewhere, Read));
        queue.Cost.Should().BeLessThanOrEqualTo(1024);
        Map(Elsewhere, DataAt, Page);
        queue.MoveToNewest();
        queue.TryPop(out DescriptorChain chain).Should().BeTrue();
        chain.Readable.Length.Should().Be(Pieces);
    }

    /// <summary>Another ring may have brought it.</summary>
    [Fact]
    public void A_ring_that_lacks_what_has_come_meanwhile_looks_at_it_whatever_else_is_missing()
    {
        (HandRing ring, DeviceVirtqueue queue) = Start(packed: false, mostAhead: 64);
        bool moves = false;
        queue.MoveSoon = () => moves = true;
        ring.OfferMixed(1, Pieces(first: 0, count: 1));
        ring.OfferMixed(1, Pieces(first: 1, count: 1));
        Map(At(0), DataAt, Page); // the ring has the table of before

        queue.TryPop(out _).Should().BeFalse();

        moves.Should().BeTrue("the first chain needs no more");
        Asked().Should().ContainSingle().Which.Address.Should().Be(At(1));
        queue.MoveToNewest();
        queue.TryPop(out DescriptorChain chain).Should().BeTrue();
        queue.Complete(chain, 0);
    }

    private static ulong At(int piece) => Elsewhere + ((ulong)piece * 2 * Page);

    private static ulong Shuffled(int entry) => (ulong)(entry * 7 % 300);

    private static (ulong At, int Length)[] Pieces(int first, int count) => [.. Enumerable.Range(first, count).Select(static piece => (At(piece), 64))];

    private (HandRing Ring, DeviceVirtqueue Queue) Start(bool packed, int size = 16, int mostAhead = 0)
    {
        _iotlb.UseMemory(_memory);
        Map(GuestRam.UserOffset, 0, Size);
        _ring = HandRing.Create(_memory, RingAt, size, packed);
        _queue = DeviceVirtqueue.TryActivate(new RingIotlb(_iotlb, rounds: 1000, mostAhead), _ring.Setup(0, VirtioFeatures.Version1), call: null, inflight: null, out string why);
        _queue.Should().NotBeNull(why);
        return (_ring, _queue!);
    }

    /// <summary>What is asked for and was not before.</summary>
    private List<TranslationMiss> Asked()
    {
        List<TranslationMiss> asked = [];
        while (_iotlb.TryTake(out TranslationMiss miss, out _))
            asked.Add(miss);
        return asked;
    }

    private void Answer(int piece)
    {
        Map(At(piece), DataAt + ((ulong)piece * Page), Page);
        _queue!.MoveToNewest();
    }

    private void Map(ulong address, ulong at, ulong size, VhostUserIotlbPermission permission = Read | Write) =>
        _iotlb.Update([new Translation(address, _memory.Regions[0], at, size, permission)]);
}
