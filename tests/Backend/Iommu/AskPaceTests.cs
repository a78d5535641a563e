namespace Vhost.Backend.Tests.Iommu;

public sealed class AskPaceTests
{
    [Fact]
    public void Who_gets_no_further_has_so_many_rounds_and_then_one_turn_after_ever_more_time()
    {
        AskPace pace = new(rounds: 3);
        pace.TryTakeTurn().Should().BeFalse("it has rounds left");
        Rounds(pace).Should().Be(3);

        List<int> waits = [];
        for (int turn = 0; turn < 10; turn++)
        {
            int wait = 0;
            while (!pace.TryTakeTurn())
                wait++;
            waits.Add(wait);
            Rounds(pace).Should().Be(3);
        }

        waits.Should().Equal(0, 0, 1, 3, 7, 15, 31, 63, 63, 63);
    }

    [Fact]
    public void Who_gets_further_begins_anew()
    {
        AskPace pace = new(rounds: 3);
        for (int turn = 0; turn < 5; turn++)
        {
            Rounds(pace).Should().Be(3);
            while (!pace.TryTakeTurn())
            {
            }
        }

        pace.Progresses();
        Rounds(pace).Should().Be(3);
        while (!pace.TryTakeTurn())
        {
        }

        Rounds(pace);
        pace.TryTakeTurn().Should().BeTrue("the first turn is followed by no wait");
    }

    private static int Rounds(AskPace pace)
    {
        int rounds = 0;
        while (pace.Begins())
            rounds++;
        return rounds;
    }
}
