using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

public class LogBudgetTests
{
    [Fact]
    public void A_burst_is_allowed_and_then_a_line_each_half_second()
    {
        FakeTimeProvider time = new();
        LogBudget budget = new(time);
        for (int i = 0; i < 32; i++)
            budget.TryTake().Should().BeTrue();
        budget.TryTake().Should().BeFalse();
        time.Advance(TimeSpan.FromSeconds(1));
        budget.TryTake().Should().BeTrue();
        budget.TryTake().Should().BeTrue();
        budget.TryTake().Should().BeFalse();
        time.Advance(TimeSpan.FromHours(1));
        Enumerable.Range(0, 100).Count(_ => budget.TryTake()).Should().Be(32);
    }
}
