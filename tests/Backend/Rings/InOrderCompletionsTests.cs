namespace Vhost.Backend.Tests;

/// <summary>Completions in any order, shown in the order of the requests.</summary>
public sealed class InOrderCompletionsTests
{
    [Fact]
    public void The_whole_largest_ring_completed_backwards_again_and_again_costs_no_search()
    {
        const int Size = 32768;
        InOrderCompletions completions = new(Size);
        for (int turn = 0; turn < 50; turn++)
        {
            for (int head = 0; head < Size; head++)
                completions.Taken((ushort)head);
            for (int head = Size - 1; head > 0; head--)
                completions.Completed((ushort)head, (uint)head);
            completions.TryTakeOldest(out _, out _).Should().BeFalse("the first one is out");
            completions.Completed(0, 0);
            for (int head = 0; head < Size; head++)
            {
                if (!completions.TryTakeOldest(out ushort oldest, out uint written) || oldest != head || written != (uint)head)
                    Assert.Fail($"turn {turn}: {oldest} ({written} bytes) instead of {head}");
            }

            completions.IsEmpty.Should().BeTrue();
        }
    }

    [Fact]
    public void Requests_given_back_are_as_if_they_were_never_taken()
    {
        InOrderCompletions completions = new(4);
        completions.Taken(1);
        completions.Taken(2);
        completions.Taken(1);
        completions.Untake(2);
        completions.Taken(3);

        completions.Completed(3, 30);
        ((Action)(() => completions.Completed(2, 0))).Should().Throw<InvalidOperationException>();
        completions.Completed(1, 10);
        ((Action)(() => completions.Completed(1, 0))).Should().Throw<InvalidOperationException>();
        ((Action)(() => completions.Completed(4, 0))).Should().Throw<InvalidOperationException>("no head is as high");

        List<(ushort, uint)> shown = [];
        while (completions.TryTakeOldest(out ushort head, out uint written))
            shown.Add((head, written));
        shown.Should().Equal((1, 10u), (3, 30u));
    }

    [Fact]
    public void R04_the_same_head_several_times_comes_back_as_often()
    {
        InOrderCompletions completions = new(4);
        for (int i = 0; i < 3; i++)
            completions.Taken(2);
        int shown = 0;
        for (int i = 0; i < 3; i++)
        {
            completions.Completed(2, 0);
            while (completions.TryTakeOldest(out ushort head, out _))
            {
                head.Should().Be(2);
                shown++;
            }
        }

        (shown, completions.IsEmpty).Should().Be((3, true));
    }
}
