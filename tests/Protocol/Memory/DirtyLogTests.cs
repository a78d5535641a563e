using FsCheck;
using FsCheck.Fluent;

namespace Vhost.Protocol.Tests;

/// <summary>The bitmap of pages, against a set of page numbers.</summary>
public sealed class DirtyLogTests
{
    private const ulong Page = DirtyLog.PageSize;

    [Fact]
    public void Page_n_is_bit_n_of_the_bytes()
    {
        using DirtyLog log = DirtyLog.Create(new GuestAddress((100 * Page) - 1));
        log.Mark(new GuestAddress(9 * Page), 1);

        using GuestMemory bytes = GuestMemory.Create(new GuestMemoryRegion(default, log.Memory));
        using GuestMemoryLease lease = bytes.Acquire();
        lease.TryRead(new GuestAddress(1), out byte second).Should().BeTrue();
        second.Should().Be(0b10);
        log.IsMarked(new GuestAddress((9 * Page) + 17)).Should().BeTrue();
        log.IsMarked(new GuestAddress(8 * Page)).Should().BeFalse();
    }

    [Fact]
    public void It_is_as_long_as_QEMU_makes_it()
    {
        DirtyLog.BytesFor(new GuestAddress((64 * Page) - 1)).Should().Be(8);
        DirtyLog.BytesFor(new GuestAddress(64 * Page)).Should().Be(16);
        DirtyLog.BytesFor(new GuestAddress(ulong.MaxValue)).Should().Be(1UL << 49);
    }

    /// <summary>Ranges of any length at any place, of a log that begins anywhere in its file.</summary>
    [Fact]
    public void What_is_taken_is_what_was_marked_since_the_last_time()
    {
        Gen<(ulong, ulong)> ranges = Gen.Choose(0, 520 * (int)Page).SelectMany(at => Gen.OneOf(Gen.Choose(0, 3), Gen.Choose(0, 9000), Gen.Choose(0, 200 * (int)Page)).Select(length => ((ulong)at, (ulong)length)));
        Gen<(int, (ulong, ulong)[], (ulong, ulong)[])> cases = Gen.Choose(0, 70).SelectMany(offset => ranges.ArrayOf().SelectMany(marks => ranges.ArrayOf().Select(takes => (offset, marks, takes))));
        Prop.ForAll(cases.ToArbitrary(), one => Check(one.Item1, one.Item2, one.Item3)).QuickCheckThrowOnFailure();
    }

    [Fact]
    public void What_is_outside_is_counted_and_what_wraps_is_cut_off()
    {
        using DirtyLog log = DirtyLog.Create(new GuestAddress((64 * Page) - 1));
        ulong end = log.PageCount * Page;

        log.Mark(new GuestAddress(end), 1);
        log.Mark(new GuestAddress(ulong.MaxValue), ulong.MaxValue);
        log.Mark(new GuestAddress(end - 1), 2);
        log.Mark(new GuestAddress(end - 1), 0);

        log.Outside.Should().Be(3);
        ulong[] pages = new ulong[log.PageCount / 64];
        log.Take(default, end, pages).Should().Be(1);
        log.Invoking(it => it.Take(default, end + 1, pages)).Should().Throw<ArgumentException>("there is no bit for the last page");
    }

    /// <summary>Two processes change the same words at the same time, in the end two threads here.</summary>
    [Fact]
    public void No_mark_is_lost_between_those_who_mark_and_the_one_who_takes()
    {
        const int Pages = 256;
        const int Rounds = 20_000;
        using DirtyLog log = DirtyLog.Create(new GuestAddress((Pages * Page) - 1));
        long marked = 0;
        Thread[] markers = [.. Enumerable.Range(0, 2).Select(thread => new Thread(() =>
        {
            for (int i = 0; i < Rounds; i++)
            {
                // Each its own pages, and the next only when the last was taken, so that every mark is found once.
                GuestAddress page = new((ulong)(((i * 2) + thread) % Pages) * Page);
                log.Mark(page, 1);
                Interlocked.Increment(ref marked);
                SpinWait.SpinUntil(() => !log.IsMarked(page));
            }
        }))];
        foreach (Thread marker in markers)
            marker.Start();

        long taken = 0;
        ulong[] pages = new ulong[Pages / 64];
        while (Array.Exists(markers, marker => marker.IsAlive))
            taken += log.Take(default, Pages * Page, pages);
        taken += log.Take(default, Pages * Page, pages);

        taken.Should().Be(marked).And.Be(2 * Rounds);
    }

    [Fact]
    public void A_larger_one_takes_over_what_was_marked()
    {
        using DirtyLog small = DirtyLog.Create(new GuestAddress(Page));
        using DirtyLog large = DirtyLog.Create(new GuestAddress(1 << 30));
        small.Mark(new GuestAddress(5 * Page), 3 * Page);

        large.Take(small);

        ulong[] pages = new ulong[1];
        large.Take(default, 64 * Page, pages).Should().Be(3);
        pages[0].Should().Be(0b1110_0000);
        small.IsMarked(new GuestAddress(5 * Page)).Should().BeFalse();
    }

    [Fact]
    public void Disposed_it_is_gone_when_nobody_holds_it()
    {
        DirtyLog log = DirtyLog.Create(default);
        log.Hold();
        log.Dispose();

        log.MarkHeld(0, 1);

        log.Release();
        log.Invoking(it => it.Mark(default, 1)).Should().Throw<ObjectDisposedException>();
        log.Invoking(it => it.Take(default, 1, new ulong[1])).Should().Throw<ObjectDisposedException>();
    }

    private static void Check(int offset, (ulong At, ulong Length)[] marks, (ulong At, ulong Length)[] takes)
    {
        using SharedMemory file = SharedMemory.CreateSealed("log", 4096);
        using DirtyLog log = DirtyLog.Map(Libc.Duplicate(file.Descriptor), (ulong)offset, 64);
        HashSet<ulong> model = [];
        foreach ((ulong at, ulong length) in marks)
        {
            log.Mark(new GuestAddress(at), length);
            model.UnionWith(PagesOf(at, length).Where(page => page < log.PageCount));
        }

        foreach ((ulong at, ulong length) in takes)
        {
            ulong[] pages = new ulong[20];
            ulong[] expected = [.. PagesOf(at, length).Where(model.Remove)];
            log.Take(new GuestAddress(at), length, pages).Should().Be(expected.Length);
            Enumerable.Range(0, 20 * 64).Where(i => (pages[i / 64] >> (i % 64) & 1) != 0).Select(i => (at / Page) + (ulong)i).Should().Equal(expected);
        }

        using GuestMemory whole = GuestMemory.Create(new GuestMemoryRegion(default, file));
        using GuestMemoryLease lease = whole.Acquire();
        byte[] around = new byte[4096];
        lease.TryCopyTo(default, around).Should().BeTrue();
        around.AsSpan(0, offset).ToArray().Concat(around[(offset + 64)..]).Should().OnlyContain(value => value == 0, "only the log is changed");
    }

    private static IEnumerable<ulong> PagesOf(ulong at, ulong length)
    {
        for (ulong page = at / Page; length > 0 && page <= (at + length - 1) / Page; page++)
            yield return page;
    }
}
