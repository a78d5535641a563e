namespace Vhost.Frontend.Tests;

public sealed class OverdueWatchTests
{
    private const ulong Free = ulong.MaxValue;

    [Fact]
    public void A_slot_is_overdue_after_more_than_four_quarters_in_flight()
    {
        OverdueWatch watch = new(3, TimeSpan.FromSeconds(1), selfTimed: false);
        ulong[] expected = [0, Free, 0];
        watch.Start(0);
        watch.Start(2);
        for (int quarter = 0; quarter < 4; quarter++)
        {
            watch.Advance(expected, Free).Should().Be(-1);
            watch.Start(0); // came back and was submitted again
        }

        watch.Advance(expected, Free).Should().Be(2);
    }

    [Fact]
    public void Whoever_takes_over_has_as_long_again()
    {
        OverdueWatch watch = new(1, TimeSpan.FromSeconds(1), selfTimed: false);
        ulong[] expected = [0];
        for (int quarter = 0; quarter < 4; quarter++)
            watch.Advance(expected, Free).Should().Be(-1);
        watch.IsSuspended = true;
        watch.Advance(expected, Free).Should().Be(-1, "nobody works on it");
        watch.IsSuspended = false;

        for (int quarter = 0; quarter < 4; quarter++)
            watch.Advance(expected, Free).Should().Be(-1);
        watch.Advance(expected, Free).Should().Be(0);
    }

    [Fact]
    public void A_watch_that_is_not_self_timed_or_has_no_limit_is_never_due()
    {
        OverdueWatch timed = new(1, TimeSpan.FromMilliseconds(40), selfTimed: true);
        OverdueWatch driven = new(1, TimeSpan.FromMilliseconds(40), selfTimed: false);
        OverdueWatch endless = new(1, Timeout.InfiniteTimeSpan, selfTimed: true);
        int due = 0;
        for (int i = 0; i < 4096; i++)
        {
            due += timed.IsDue() ? 1 : 0;
            driven.IsDue().Should().BeFalse();
            endless.IsDue().Should().BeFalse();
        }

        due.Should().BeGreaterThan(0);
    }
}
