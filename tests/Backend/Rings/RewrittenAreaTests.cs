using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>In-flight areas that their owner, the front-end, rewrites while a queue begins with them. Memory stands between guard pages, so that a check of one value and a use of another ends the process.</summary>
public sealed class RewrittenAreaTests
{
    private const int Beginnings = 20_000;

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.InOrder)]
    [InlineData(VirtioFeatures.RingPacked)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder)]
    public void B29_An_area_that_changes_while_it_is_read_gives_each_request_once_and_none_outside_of_memory(VirtioFeatures features)
    {
        using RewrittenArea area = new(features);
        int left = 0;

        for (int i = 0; i < Beginnings; i++)
            left += area.Serve();

        left.Should().BePositive("some of what it says looks like requests at any time");
    }
}
