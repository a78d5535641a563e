using System.Text.Json;
using Vhost.Bench.Compare;

namespace Vhost.Interop.Tests.Bench;

/// <summary>How the rows of <c>bench/run.sh</c> come out of their runs.</summary>
public sealed class RowTests
{
    private static readonly JsonSerializerOptions _snakeCase = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    [Theory]
    [InlineData("net/packed-vector/64/rx/pair", 2.0)]
    [InlineData("net/split/1518/tx/pair", 1.2)]
    [InlineData("net/split-inorder/64/tx/front-end", 1.0)]
    [InlineData("net/packed/64/tx/back-end", 1.0)]
    [InlineData("net/packed/1518/tx/back-end", null)]
    [InlineData("blk/file/32", 2.0)]
    [InlineData("blk/file/1", 1.0)]
    [InlineData("blk/file/1/pair", null)]
    [InlineData("blk/null/32", null)]
    [InlineData("blk/null/32/pair", 14.0)]
    [InlineData("blk/null/1/pair", 0.28)]
    [InlineData("blk/memory/32/pair", 2.8)]
    [InlineData("allocated/net", 0.0)]
    [InlineData("hostile/front-ends/64", 0.8)]
    [InlineData("scale/regions/spread", 1.3)]
    [InlineData("scale/regions/64", null)]
    public void Rows_have_their_goals(string row, double? goal) => Goal.Of(row)?.Value.Should().Be(goal);

    [Fact]
    public void Ratio_is_the_median_of_the_ratios_of_neighbours()
    {
        Row row = Row.From(new RowPlan("net/split/64/tx/pair", Units.MillionPackets), Runs(10, 40, 30), Runs(5, 10, 20));

        row.Should().Match<Row>(it => it.Ours == 30 && it.Peer == 10 && it.Ratio == 2 && it.Min == 1.5 && it.Max == 4 && it.Rounds == 3);
    }

    [Fact]
    public void Ratio_of_times_is_above_one_when_ours_are_shorter() =>
        Row.From(new RowPlan("blk/file/1", Units.Microseconds), Runs(2), Runs(5)).Should().Match<Row>(row => row.Ratio == 2.5 && row.Met == true);

    [Theory]
    [InlineData(true, 2.0, 2.0, 1.9, 2.0, 3.0)]
    [InlineData(false, 2.0, 2.0, 1.89, 1.8, 3.0)]
    [InlineData(false, 1.99, 1.99, 1.99, 3.0, 3.0)]
    public void Goal_is_met_by_the_median_with_the_lower_quartile_close_to_it(bool met, params double[] ratios) =>
        Row.From(new RowPlan("net/split/64/tx/pair", Units.MillionPackets), Runs(ratios), Runs([.. ratios.Select(_ => 1.0)])).Met.Should().Be(met);

    [Theory]
    [InlineData(true, 0.28, 0.28, 0.29)]
    [InlineData(false, 0.29, 0.29, 0.2)]
    [InlineData(false, 0.28, 0.28, 0.4)]
    public void Goal_of_a_time_is_a_limit(bool met, params double[] times) =>
        Row.From(new RowPlan("blk/null/1/pair", Units.Microseconds, HasPeer: false), Runs(times), []).Met.Should().Be(met);

    [Theory]
    [InlineData("split", "split", true)]
    [InlineData("split", null, true)]
    [InlineData("split", "packed", false)]
    public void A_goal_is_not_met_when_both_sides_of_any_round_did_not_the_same_work(string ours, string? peer, bool met)
    {
        Sample[] our = [.. Runs(9, 9, 9).Select(run => run with { RingFeatures = ours })];
        Sample[] peers = [.. Runs(1, 1, 1).Select((run, round) => run with { RingFeatures = round == 1 ? peer : ours })];

        Row.From(new RowPlan("net/split/64/tx/pair", Units.MillionPackets), our, peers).Met.Should().Be(met);
        Row.From(new RowPlan("scale/queues/1", Units.MillionPackets), our, peers).Met.Should().BeNull("it has no goal");
    }

    [Fact]
    public void Json_has_exactly_the_agreed_members()
    {
        string json = JsonSerializer.Serialize(Row.From(new RowPlan("blk/null/32/pair", Units.MillionRequests, HasPeer: false), Runs(15), []), _snakeCase);

        using JsonDocument document = JsonDocument.Parse(json);
        document.RootElement.EnumerateObject().Select(member => member.Name).Should().Equal(
            "name", "unit", "ours", "peer", "peer_command", "ratio", "min", "max", "rounds", "empty_polls", "goal", "met");
        document.RootElement.GetProperty("peer").ValueKind.Should().Be(JsonValueKind.Null);
        document.RootElement.GetProperty("ratio").ValueKind.Should().Be(JsonValueKind.Null);
    }

    [Fact]
    public void Row_that_failed_says_why_and_is_not_met() =>
        Row.Failed(new RowPlan("net/split/64/tx/pair", Units.MillionPackets), "gone", null).Should().Match<Row>(row => row.Error == "gone" && row.Met == false && row.Ours == null);

    private static Sample[] Runs(params double[] values) => [.. values.Select(value => new Sample(value, "command"))];
}
