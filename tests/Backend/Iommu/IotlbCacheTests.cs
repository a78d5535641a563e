using FsCheck;
using FsCheck.Fluent;
using Vhost.Protocol;

namespace Vhost.Backend.Tests.Iommu;

/// <summary>The cache of translations against a plain list that is searched from front to back.</summary>
public sealed class IotlbCacheTests : IDisposable
{
    private const int Capacity = 6;
    private const ulong Page = 4096;

    private readonly TestGuest _guest = new();

    private enum Step
    {
        Update,
        Invalidate,
        Pin,
        Ask,
    }

    public void Dispose() => _guest.Dispose();

    [Fact]
    public void Any_sequence_of_updates_and_invalidations_leaves_what_a_plain_list_has()
    {
        Gen<(Step, ulong, ulong, int)> step =
            from kind in Gen.Frequency((5, Gen.Constant(Step.Update)), (2, Gen.Constant(Step.Invalidate)), (1, Gen.Constant(Step.Pin)), (2, Gen.Constant(Step.Ask)))
            from address in Gen.OneOf(Gen.Choose(0, 40).Select(static page => (ulong)page * (Page / 2)), Gen.Choose(0, 8).Select(static page => ulong.MaxValue - ((ulong)page * Page) - (Page - 1)))
            from size in Gen.Choose(1, 10).Select(static half => (ulong)half * (Page / 2))
            from offset in Gen.Choose(0, 100)
            select (kind, address, Math.Min(size - 1, ulong.MaxValue - address) + 1, offset);
        Prop.ForAll(step.ListOf().ToArbitrary(), list => Follows(list)).Check(Config.QuickThrowOnFailure.WithMaxTest(300).WithQuietOnSuccess(true));
    }

    [Fact]
    public void Ranges_in_any_order_are_those_that_a_look_at_each_finds()
    {
        Gen<(ulong, ulong)> range =
            from first in Gen.OneOf(Gen.Choose(0, 60).Select(static at => (ulong)at), Gen.Choose(0, 20).Select(static back => ulong.MaxValue - (ulong)back))
            from length in Gen.Choose(0, 9)
            select (first, first + Math.Min((ulong)length, ulong.MaxValue - first));
        Prop.ForAll(range.ArrayOf().ToArbitrary(), range.ToArbitrary(), static (all, asked) =>
        {
            AddressRanges ranges = new(all);
            ranges.Overlap(asked.Item1, asked.Item2).Should().Be(Array.Exists(all, one => one.Item1 <= asked.Item2 && asked.Item1 <= one.Item2));
            ranges.IsSame(new AddressRanges([.. Enumerable.Reverse(all), .. all])).Should().BeTrue();
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(500).WithQuietOnSuccess(true));
    }

    [Fact]
    public void A_million_entries_leave_as_many_as_there_is_room_for_and_no_mapping_that_nobody_has()
    {
        IotlbCache cache = new(2048);
        Translation pinned = Entry(1, Page, 0);
        cache.Pin(new AddressRanges((1UL, 1UL)));
        cache.Add(pinned);
        List<Translation> all = [];
        for (ulong i = 1; i <= 1_000_000; i++)
        {
            Translation entry = Entry(i * 2 * Page, Page, (int)(i % 200));
            cache.Add(entry);
            if (i % 50_000 == 0)
                all.Add(entry);
        }

        cache.Entries.Length.Should().Be(2048);
        cache.Find(1).Should().BeSameAs(pinned, "a ring lies there");
        cache.Find(1_000_000 * 2 * Page).Should().NotBeNull();
        cache.Find(900_000 * 2 * Page).Should().BeNull();
        all.Count(static entry => !entry.Unused.IsCompleted).Should().Be(1, "what has made room is not held any more");
        cache.UsesOf(0, ulong.MaxValue).Should().BeEmpty();
        cache.Remove(0, ulong.MaxValue).Should().Be(2048);
        pinned.Unused.IsCompleted.Should().BeTrue();
    }

    [Fact]
    public void What_has_gone_is_waited_for_as_long_as_somebody_uses_it()
    {
        IotlbCache cache = new(2);
        Translation first = Entry(0, Page, 0);
        cache.Add(first);
        GuestMemory table = GuestMemory.Translated(cache.Entries, _guest.Table);
        GuestMemoryLease lease = table.Acquire();
        table.Dispose();
        cache.Add(Entry(0, Page, 1)); // replaced
        cache.Add(Entry(Page, Page, 2));
        cache.Add(Entry(2 * Page, Page, 3)); // makes room

        cache.UsesOf(Page, 2 * Page).Should().BeEmpty();
        Task use = cache.UsesOf(0, 100).Should().ContainSingle().Subject;
        use.IsCompleted.Should().BeFalse();
        lease.Dispose();
        use.IsCompleted.Should().BeTrue();
        cache.UsesOf(0, 100).Should().BeEmpty();
        cache.Remove(0, ulong.MaxValue);
    }

    [Fact]
    public void A_claim_on_some_entries_keeps_no_other()
    {
        Translation kept = Entry(0, Page, 0);
        Translation other = Entry(Page, Page, 0);
        GuestMemory table = GuestMemory.Translated([kept, other], _guest.Table);
        GuestMemoryLease part = table.AcquirePart([kept, kept]);
        table.Dispose();
        kept.Release();
        other.Release();

        other.Unused.IsCompleted.Should().BeTrue("the page is the same, the address is not");
        kept.Unused.IsCompleted.Should().BeFalse();
        part.Dispose();
        kept.Unused.IsCompleted.Should().BeTrue();
    }

    private void Follows(IEnumerable<(Step, ulong, ulong, int)> steps)
    {
        IotlbCache cache = new(Capacity);
        List<(ulong First, ulong Last, nint Address)> model = [];
        (ulong First, ulong Last)[] pinned = [];
        foreach ((Step kind, ulong address, ulong size, int offset) in steps)
        {
            ulong last = address + (size - 1);
            if (kind == Step.Update)
            {
                Translation entry = Entry(address, size, offset);
                (ulong, ulong, nint) same = (address, last, entry.Address);
                cache.Add(entry).Should().Be(!model.Contains(same));
                if (!model.Contains(same))
                {
                    model.RemoveAll(one => one.First <= last && address <= one.Last);
                    if (model.Count == Capacity)
                        model.RemoveAt(Math.Max(0, model.FindIndex(one => !Array.Exists(pinned, range => one.First <= range.Last && range.First <= one.Last))));
                    model.Add(same);
                }
            }
            else if (kind == Step.Invalidate)
            {
                cache.Remove(address, last).Should().Be(model.RemoveAll(one => one.First <= last && address <= one.Last));
            }
            else if (kind == Step.Pin)
            {
                pinned = [(address, last), ((ulong)(offset % 20) * Page, ((ulong)(offset % 20) * Page) + 100)];
                cache.Pin(new AddressRanges(pinned));
            }

            Compare(cache, model, address, size);
        }

        cache.Remove(0, ulong.MaxValue).Should().Be(model.Count);
    }

    private void Compare(IotlbCache cache, List<(ulong First, ulong Last, nint Address)> model, ulong address, ulong size)
    {
        cache.Entries.ToArray().Select(static entry => (entry.Start, entry.Last, entry.Address)).Should().Equal(model.OrderBy(static one => one.First));
        GuestMemory table = GuestMemory.Translated(cache.Entries, _guest.Table);
        TranslationMap map = table.Translations!;
        foreach (ulong at in (ulong[])[address, address + (size / 2), address + (size - 1)])
        {
            (ulong First, ulong Last, nint Address)[] found = [.. model.Where(one => one.First <= at && at <= one.Last)];
            (cache.Find(at) is not null).Should().Be(found.Length == 1);
            Translation? entry = map.Find(at);
            (entry is not null).Should().Be(found.Length == 1);
            MemoryPiece[]? pieces = map.FindPieces(at, 1, VhostUserIotlbPermission.ReadWrite);
            (pieces is not null).Should().Be(found.Length == 1);
            pieces?.Should().ContainSingle().Which.Address.Should().Be(found[0].Address + (nint)(at - found[0].First));
        }

        ComparePieces(map, model, address, size);

        table.Dispose();
    }

    /// <summary>Byte by half page: where each lies, and whether all of it does.</summary>
    private static void ComparePieces(TranslationMap map, List<(ulong First, ulong Last, nint Address)> model, ulong address, ulong size)
    {
        List<nint> expected = [];
        for (ulong done = 0; done < size; done += Page / 2)
        {
            ulong at = address + done;
            expected.AddRange(model.Where(one => one.First <= at && at <= one.Last).Select(one => one.Address + (nint)(at - one.First)));
        }

        MemoryPiece[]? pieces = map.FindPieces(address, size, VhostUserIotlbPermission.ReadWrite);
        (pieces is not null).Should().Be((ulong)expected.Count == (size + (Page / 2) - 1) / (Page / 2));
        if (pieces is null)
            return;
        pieces.Aggregate(0UL, static (sum, piece) => sum + piece.Length).Should().Be(size);
        pieces.SelectMany(static piece => Enumerable.Range(0, (int)((piece.Length + (Page / 2) - 1) / (Page / 2))).Select(half => piece.Address + (nint)((ulong)half * (Page / 2)))).Should().Equal(expected);
        for (int i = 1; i < pieces.Length; i++)
            pieces[i - 1].GoesOnWith(pieces[i]).Should().BeFalse("there are as few as there can be");
    }

    private Translation Entry(ulong address, ulong size, int offset) => new(address, _guest.Table.Regions[0], (ulong)offset * 512, size, VhostUserIotlbPermission.ReadWrite);
}
