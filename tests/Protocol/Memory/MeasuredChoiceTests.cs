using System.Diagnostics;

namespace Vhost.Protocol.Tests;

public class MeasuredChoiceTests
{
    private static readonly long _microsecond = Stopwatch.Frequency / 1_000_000;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_faster_way_is_found_and_kept(bool secondIsFaster)
    {
        MeasuredChoice choice = default;

        double share = ShareOf(ref choice, secondIsFaster, windows: 20_000, start: 0, out _);

        share.Should().BeGreaterThan(0.97, "a trial is short, and what it found out is kept for long");
    }

    [Fact]
    public void When_the_other_way_becomes_the_faster_one_it_is_found_soon()
    {
        MeasuredChoice choice = default;
        ShareOf(ref choice, secondIsFaster: true, windows: 5000, start: 0, out long moved);

        double share = ShareOf(ref choice, secondIsFaster: false, windows: 20_000, moved, out _);

        share.Should().BeGreaterThan(0.9);
    }

    [Fact]
    public void A_pause_of_the_application_decides_nothing()
    {
        MeasuredChoice choice = default;
        long now = 0;
        bool second = choice.NextWindow(now);
        for (int i = 0; i < 8; i++)
        {
            // The first window of the better way had a pause in it.
            now += (second ? (i < 2 ? 10_000 : 100) : 200) * _microsecond;
            second = choice.NextWindow(now);
        }

        second.Should().BeTrue();
    }

    [Fact]
    public void A_few_packets_now_and_then_go_the_first_way()
    {
        MeasuredChoice choice = default;

        for (int i = 0; i < 100; i++)
            choice.Next(1).Should().BeFalse();
    }

    /// <summary>Lets windows pass that take 100 us the better and 150 us the other way.</summary>
    /// <returns>The share of windows in which the better way was chosen.</returns>
    private static double ShareOf(ref MeasuredChoice choice, bool secondIsFaster, int windows, long start, out long end)
    {
        int better = 0;
        end = start;
        for (int i = 0; i < windows; i++)
        {
            bool chosen = choice.NextWindow(end) == secondIsFaster;
            better += chosen ? 1 : 0;
            end += (chosen ? 100 : 150) * _microsecond;
        }

        return (double)better / windows;
    }
}
