namespace Vhost.Protocol.Tests;

/// <summary>Runs of bytes over a bitmap of pages.</summary>
public sealed class DirtyRunsTests
{
    private const ulong Page = DirtyLog.PageSize;

    [Fact]
    public void Neighbouring_pages_are_one_run_also_over_the_end_of_a_word()
    {
        ulong[] pages = new ulong[3];
        foreach (int page in new[] { 0, 2, 3, 62, 63, 64, 127, 128, 190 })
            pages[page / 64] |= 1UL << (page % 64);
        List(pages, 0, 191 * Page).Should().Equal((0, Page), (2 * Page, 2 * Page), (62 * Page, 3 * Page), (127 * Page, 2 * Page), (190 * Page, Page));
    }

    [Fact]
    public void A_range_that_begins_and_ends_inside_of_pages_has_shorter_runs_there()
    {
        ulong[] pages = [0b1_0111];
        List(pages, (7 * Page) + 100, (4 * Page) + 1000).Should().Equal((0, (3 * Page) - 100), ((4 * Page) - 100, 1100UL));
        List([ulong.MaxValue], 100, 50).Should().Equal((0, 50UL));
        List([ulong.MaxValue], 0, 0).Should().BeEmpty();
        List([0], 0, 64 * Page).Should().BeEmpty();
    }

    [Fact]
    public void Whatever_is_marked_comes_once_and_nothing_else_does()
    {
        Random random = new(5);
        for (int turn = 0; turn < 2000; turn++)
        {
            ulong from = (ulong)random.NextInt64(0, 1 << 20);
            ulong length = (ulong)random.NextInt64(1, 300 * (long)Page);
            using DirtyLog log = DirtyLog.Create(new GuestAddress(from + length + (2 * Page)));
            for (int marks = random.Next(6); marks > 0; marks--)
                log.Mark(new GuestAddress(from + (ulong)random.NextInt64(0, (long)length)), (ulong)random.Next(1, 40_000));
            ulong[] pages = new ulong[DirtyRuns.WordsFor(length)];
            HashSet<ulong> expected = [];
            for (ulong page = from / Page; page <= (from + length - 1) / Page; page++)
            {
                if (log.IsMarked(new GuestAddress(page * Page)))
                    expected.Add(page);
            }

            log.Take(new GuestAddress(from), length, pages);

            HashSet<ulong> seen = [];
            ulong behind = 0;
            foreach ((ulong offset, ulong bytes) in List(pages, from, length))
            {
                bytes.Should().BePositive();
                offset.Should().BeGreaterThanOrEqualTo(behind);
                behind = offset + bytes;
                behind.Should().BeLessThanOrEqualTo(length);
                for (ulong page = (from + offset) / Page; page <= (from + behind - 1) / Page; page++)
                    seen.Add(page).Should().BeTrue();
            }

            seen.Should().BeEquivalentTo(expected);
        }
    }

    [Fact]
    public void A_bitmap_that_is_too_short_is_refused()
    {
        Action act = () => List([0], 1, 64 * Page);
        act.Should().Throw<ArgumentException>().WithMessage("65 pages do not fit into 1 words*");
        DirtyRuns.WordsFor(64 * Page).Should().Be(2);
        DirtyRuns.WordsFor(62 * Page).Should().Be(1);
    }

    [Fact]
    public void Walking_them_allocates_nothing()
    {
        ulong[] pages = [0xF0F0, 0xFF00];
        long Walk()
        {
            ulong sum = 0;
            foreach (DirtyRun run in new DirtyRuns(pages, default, 128 * Page))
                sum += run.Length;
            return (long)sum;
        }

        Walk();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Walk();
        GC.GetAllocatedBytesForCurrentThread().Should().Be(before);
    }

    private static List<(ulong Offset, ulong Length)> List(ulong[] pages, ulong from, ulong length)
    {
        List<(ulong, ulong)> runs = [];
        foreach (DirtyRun run in new DirtyRuns(pages, new GuestAddress(from), length))
            runs.Add((run.Offset, run.Length));
        return runs;
    }
}
