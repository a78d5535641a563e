namespace Vhost.Protocol.Tests;

public class ReadAheadTests
{
    private const int Window = 5 << 10;

    [Theory]
    [InlineData(129u)]
    [InlineData(700u)]
    [InlineData(1518u)]
    [InlineData(4096u)]
    public void Every_packet_is_asked_for_once_and_before_it_is_copied(uint length)
    {
        List<int> asked = [];
        ReadAhead ahead = default;

        for (int packet = 0; packet < 32; packet++)
        {
            ahead.Reach(packet, length);
            while (ahead.TryNext(32, out int next))
            {
                asked.Add(next);
                ahead.Ask(0, length);
            }

            asked.Should().Contain(packet);
        }

        asked.Should().Equal(Enumerable.Range(0, 32));
    }

    [Theory]
    [InlineData(200u)]
    [InlineData(1518u)]
    [InlineData(4000u)]
    public void No_more_is_under_way_than_a_processor_waits_for(uint length)
    {
        ReadAhead ahead = default;

        for (int packet = 0; packet < 20; packet++)
        {
            ahead.Reach(packet, length);
            int last = packet;
            while (ahead.TryNext(100, out last))
                ahead.Ask(0, length);

            ((uint)(last - packet) * length).Should().BeInRange(Window, Window + length);
        }
    }

    [Fact]
    public void Short_packets_in_between_are_passed_over()
    {
        uint[] lengths = [1500, 64, 64, 1500, 128, 1500, 64, 1500];
        List<int> asked = [];
        ReadAhead ahead = default;

        for (int packet = 0; packet < lengths.Length; packet++)
        {
            if (!ReadAhead.Fits(lengths[packet]))
                continue;
            ahead.Reach(packet, lengths[packet]);
            while (ahead.TryNext(lengths.Length, out int next))
            {
                ahead.Ask(0, lengths[next]);
                asked.Add(next);
            }
        }

        asked.Should().Equal(Enumerable.Range(0, lengths.Length));
    }

    [Theory]
    [InlineData(0u, false)]
    [InlineData(64u, false)]
    [InlineData(128u, false)]
    [InlineData(129u, true)]
    [InlineData(4096u, true)]
    [InlineData(4097u, false)]
    [InlineData(uint.MaxValue, false)]
    public void What_is_asked_for_is_neither_short_nor_very_long(uint length, bool fits) => ReadAhead.Fits(length).Should().Be(fits);

    [Fact]
    public void Whether_packets_are_asked_for_is_decided_once_for_a_burst()
    {
        MeasuredChoice choice = default;
        ReadAhead ahead = default;

        for (int packet = 0; packet < 100_000; packet++)
            ahead.Asks(ref choice, 32).Should().BeFalse("the choice was asked once, and begins with the first way");
    }
}
