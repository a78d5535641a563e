namespace Vhost.Protocol.Tests;

/// <summary>How a batch of descriptors of a packed ring is cut into stretches that are written in one loop each.</summary>
public sealed class PackedStretchTests
{
    private const uint PerLine = 4;

    public static TheoryData<uint> Sizes() => [1, 2, 3, 4, 5, 8, 13, 32];

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Each_descriptor_is_in_one_stretch_on_one_turn_and_in_the_line_of_the_first_one_or_not(uint size)
    {
        for (uint first = 0; first < Math.Min(size, 16); first++)
        {
            for (int batch = 1; batch <= size; batch++)
            {
                for (int before = 0; before <= batch; before++)
                    Walk(first, size, before, batch).Should().Be(batch, "of which {0} were written by an earlier call", before);
            }
        }
    }

    [Fact]
    public void Lines_that_are_left_behind_whole_end_with_the_last_one_that_is_filled_up()
    {
        for (uint position = 0; position < 3 * PerLine; position++)
        {
            for (int batch = 0; batch < 20; batch++)
            {
                uint end = position + (uint)batch;
                int whole = Enumerable.Range((int)position, batch).Count(at => ((at / PerLine) + 1) * PerLine <= end);
                PackedRing.InWholeLines(position, batch).Should().Be(whole, "from {0} on there are {1}", position, batch);
            }
        }
    }

    private static int Walk(uint first, uint size, int before, int batch)
    {
        PackedPosition at = new(first, wrap: true, size);
        at.Advance((uint)before);
        int walked = before;
        while (walked < batch)
        {
            int stretch = PackedFirstLine.Straight(first, at.Index, at.Straight(batch - walked), out bool isFirst);
            stretch.Should().BePositive();
            for (uint place = at.Index; place < at.Index + (uint)stretch; place++)
            {
                place.Should().BeLessThan(size, "a stretch ends with the turn");
                (place / PerLine == first / PerLine).Should().Be(isFirst, "of the batch at {0}, place {1}", first, place);
            }

            at.Advance((uint)stretch);
            walked += stretch;
        }

        return walked;
    }
}
