namespace Vhost.Protocol.Tests;

public sealed class ArrivedPagesTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(64)]
    [InlineData(100)]
    [InlineData(32768)]
    [InlineData(70_000)]
    public void Runs_are_what_a_set_of_pages_says(int pages)
    {
        Random random = new(pages);
        ArrivedPages arrived = new((ulong)pages);
        HashSet<int> set = [];
        for (int i = 0; i < 200; i++)
        {
            int first = random.Next(pages);
            int end = Math.Min(pages, first + random.Next(1, 200));
            for (int page = first; page < end; page++)
                arrived.Add((ulong)page).Should().Be(set.Add(page));
            int at = random.Next(pages);
            int most = random.Next(1, pages + 10);
            int run = 0;
            while (run < most && set.Contains(at + run))
                run++;
            arrived.RunFrom((ulong)at, (ulong)most).Should().Be((ulong)run);
            int gap = 0;
            while (gap < Math.Min(most, pages - at) && !set.Contains(at + gap))
                gap++;
            arrived.GapFrom((ulong)at, (ulong)most).Should().Be((ulong)gap);
            arrived.Contains((ulong)at).Should().Be(set.Contains(at));
            arrived.Count.Should().Be((ulong)set.Count);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(64)]
    [InlineData(100)]
    [InlineData(70_000)]
    public void A_run_that_is_added_is_what_its_pages_would_be_one_by_one(int pages)
    {
        Random random = new(pages);
        ArrivedPages together = new((ulong)pages);
        ArrivedPages each = new((ulong)pages);
        for (int i = 0; i < 50; i++)
        {
            int first = random.Next(pages + 1);
            int count = random.Next(Math.Min(500, pages - first) + 1);
            together.AddRun((ulong)first, (ulong)count);
            for (int page = first; page < first + count; page++)
                each.Add((ulong)page);

            together.Count.Should().Be(each.Count);
            Enumerable.Range(0, pages).Where(page => together.Contains((ulong)page) != each.Contains((ulong)page)).Should().BeEmpty();
        }

        together.AddRun(0, (ulong)pages);
        together.Count.Should().Be((ulong)pages);
    }

    [Fact]
    public void A_page_behind_the_last_is_refused()
    {
        ArrivedPages arrived = new(3);
        arrived.Invoking(one => one.Add(3)).Should().Throw<ArgumentOutOfRangeException>();
        arrived.Invoking(one => one.AddRun(2, 2)).Should().Throw<ArgumentOutOfRangeException>();
        arrived.Invoking(one => one.AddRun(4, 0)).Should().Throw<ArgumentOutOfRangeException>();
        arrived.Invoking(one => one.AddRun(1, ulong.MaxValue)).Should().Throw<ArgumentOutOfRangeException>();
        arrived.Count.Should().Be(0);
    }

    [Fact]
    public void A_page_that_many_threads_add_is_new_to_one_of_them()
    {
        ArrivedPages arrived = new(4096);
        int added = 0;
        Parallel.For(0, 8, _ =>
        {
            for (ulong page = 0; page < 4096; page++)
            {
                if (arrived.Add(page))
                    Interlocked.Increment(ref added);
            }
        });
        added.Should().Be(4096);
        arrived.RunFrom(0, 4096).Should().Be(4096);
    }

    [Fact]
    public void Large_memory_of_which_little_is_used_costs_little()
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        ArrivedPages arrived = new(1UL << 34); // 64 TiB
        arrived.Add((1UL << 34) - 1);
        (GC.GetAllocatedBytesForCurrentThread() - before).Should().BeLessThan(8 << 20);
    }
}
