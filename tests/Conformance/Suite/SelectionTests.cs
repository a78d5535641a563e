namespace Vhost.Conformance.Tests;

/// <summary>Which cases a pattern means, and what a suite demands of its options.</summary>
public sealed class SelectionTests
{
    [Theory]
    [InlineData("ring-states/restart", 1)]
    [InlineData("ring-states/restart,ring-states/restart", 1)]
    [InlineData(" ring-states/restart , ring-states/disable ", 2)]
    [InlineData("ring-states/base*", 2)]
    public void A_pattern_means_cases(string pattern, int count) => ConformanceCase.Select(BackendSuite.Cases, pattern).Should().HaveCount(count);

    [Fact]
    public void A_chapter_means_all_of_its_cases() =>
        ConformanceCase.Select(BackendSuite.Cases, "status").Should().NotBeEmpty().And.OnlyContain(static one => one.Chapter == "status");

    [Fact]
    public void The_star_means_all() => ConformanceCase.Select(FrontendSuite.Cases, "*").Should().Equal(FrontendSuite.Cases);

    [Theory]
    [InlineData("no-such-case", "no-such-case")]
    [InlineData("status,sttaus", "sttaus")]
    [InlineData("Status", "Status")]
    [InlineData("", "")]
    [InlineData(",", ",")]
    public void A_part_that_means_none_is_refused_and_the_chapters_are_named(string pattern, string idle)
    {
        Action select = () => ConformanceCase.Select(BackendSuite.Cases, pattern);
        select.Should().Throw<ArgumentException>().WithMessage($"No case is meant by '{idle}'. Chapters: negotiation, framing, *hostile-rings.*");
    }

    [Fact]
    public void An_unknown_device_is_refused_and_the_known_ones_are_named()
    {
        Action back = static () => _ = new BackendSuite(new() { SocketPath = "s", Device = "teapot" });
        Action front = static () => _ = new FrontendSuite(new() { SocketPath = "s", Device = "auto" });
        back.Should().Throw<ArgumentException>().WithMessage("Device 'teapot': must be one of auto, blk, net, rng, console, fs, generic.*");
        front.Should().Throw<ArgumentException>().WithMessage("Device 'auto': must be one of blk, net, rng.*");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(0.0009)]
    [InlineData(600.1)]
    public void A_timeout_out_of_range_is_refused(double seconds)
    {
        Action back = () => _ = new BackendSuite(new() { SocketPath = "s", Timeout = TimeSpan.FromSeconds(seconds) });
        Action front = () => _ = new FrontendSuite(new() { SocketPath = "s", Timeout = TimeSpan.FromSeconds(seconds) });
        back.Should().Throw<ArgumentOutOfRangeException>();
        front.Should().Throw<ArgumentOutOfRangeException>();
    }

    [Fact]
    public void A_negative_seed_is_refused() =>
        FluentActions.Invoking(static () => new BackendSuite(new() { SocketPath = "s", Seed = -1 })).Should().Throw<ArgumentOutOfRangeException>().WithMessage("A seed is not negative.*");

    [Fact]
    public void A_socket_whose_path_the_system_cannot_name_is_refused_before_the_run()
    {
        string longest = new('é', 53);
        Action fits = () => _ = new BackendSuite(new() { SocketPath = longest + "s" });
        Action back = () => _ = new BackendSuite(new() { SocketPath = longest + "so" });
        Action front = () => _ = new FrontendSuite(new() { SocketPath = longest + "so" });
        fits.Should().NotThrow();
        back.Should().Throw<ArgumentException>().WithMessage("The path of the socket has 108 bytes, at most 107 are possible.*");
        front.Should().Throw<ArgumentException>();
    }

    [Fact]
    public void What_a_case_needs_is_said_in_words()
    {
        Needs("ring-states/restart").Should().Equal("a device of which the suite knows what it does");
        Needs("block/id").Should().Contain("a blk device");
        BackendSuite.Cases.Where(static one => one.Chapter == "packed-rings").Should().OnlyContain(static one => one.Needs.Contains("RING_PACKED"));
        BackendSuite.Cases.SelectMany(static one => one.Needs).Should().NotContain(static words => words.Length == 0);
        FrontendSuite.Cases.SelectMany(static one => one.Needs).Should().Contain("a blk device");
    }

    private static IReadOnlyList<string> Needs(string id) => BackendSuite.Cases.Single(one => one.Id == id).Needs;
}
