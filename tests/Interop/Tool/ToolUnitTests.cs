using System.Diagnostics;
using Vhost.Backend;
using Vhost.Tests.Support;
using Vhost.Tool;

namespace Vhost.Interop.Tests;

/// <summary>Parts of the command that need no process.</summary>
public sealed class ToolUnitTests
{
    [Theory]
    [InlineData("0", 0)]
    [InlineData("512", 512)]
    [InlineData("4k", 4096)]
    [InlineData("64M", 64 << 20)]
    [InlineData("2G", 2L << 30)]
    public void Sizes_are_read(string text, long bytes)
    {
        SizeText.TryParse(text, out ulong value).Should().BeTrue();
        value.Should().Be((ulong)bytes);
    }

    [Theory]
    [InlineData("")]
    [InlineData("K")]
    [InlineData("-1")]
    [InlineData("1.5G")]
    [InlineData("1T")]
    [InlineData("99999999999G")]
    [InlineData("18446744073709551616")]
    public void Nonsense_is_no_size(string text) => SizeText.TryParse(text, out _).Should().BeFalse();

    [Theory]
    [InlineData(0, "0")]
    [InlineData(1500, "1500")]
    [InlineData(4096, "4K")]
    [InlineData(3L << 30, "3G")]
    public void Sizes_are_written_in_the_shortest_exact_form(long bytes, string text) => SizeText.Of((ulong)bytes).Should().Be(text);

    [Fact]
    public void Failures_are_told_without_the_names_of_our_parameters()
    {
        FailureText.Of(new ArgumentException("No such thing.", "path")).Should().Be("No such thing.");
        FailureText.Of(new IOException("Cannot do it.", new ArgumentException("No such thing.", "path"))).Should().Be("Cannot do it. (No such thing.)");
        FailureText.Of(new IOException("Cannot do it: no.", new IOException("no"))).Should().Be("Cannot do it: no.");
    }

    [Theory]
    [InlineData("0", new[] { 0 })]
    [InlineData("1,3", new[] { 1, 3 })]
    [InlineData("0,2-4", new[] { 0, 2, 3, 4 })]
    public void Processors_are_read(string text, int[] expected)
    {
        ToolOptions.TryParseProcessors(text, out int[] processors).Should().BeTrue();
        processors.Should().Equal(expected);
    }

    [Theory]
    [InlineData("")]
    [InlineData("a")]
    [InlineData("3-1")]
    [InlineData("1-2-3")]
    [InlineData("4096")]
    public void Nonsense_is_no_processor_list(string text) => ToolOptions.TryParseProcessors(text, out _).Should().BeFalse();

    [Fact]
    public void Percentiles_are_within_one_percent()
    {
        LatencyHistogram histogram = new();
        for (int i = 1; i <= 100_000; i++)
            histogram.Record(i);

        histogram.Percentile(0.50).Should().BeApproximately(50_000, 500);
        histogram.Percentile(0.99).Should().BeApproximately(99_000, 990);
        histogram.Percentile(1.00).Should().BeApproximately(100_000, 1000);
    }

    [Fact]
    public void Histogram_takes_any_value_and_starts_empty()
    {
        LatencyHistogram histogram = new();
        histogram.Percentile(0.5).Should().Be(0);

        foreach (long value in (long[])[-1, 0, 1, 63, 64, 127, 128, long.MaxValue])
            histogram.Record(value);

        histogram.Percentile(0.01).Should().Be(0);
        histogram.Percentile(1.00).Should().BeApproximately(long.MaxValue, long.MaxValue / 100);
    }

    [Fact]
    public void Recording_allocates_nothing()
    {
        LatencyHistogram histogram = new();
        histogram.Record(1);

        Allocations.OfThisThread(() =>
        {
            for (int i = 0; i < 1000; i++)
                histogram.Record(i);
        }).Should().Be(0);
    }

    [Fact]
    public void Pattern_depends_on_seed_and_place()
    {
        byte[] data = new byte[4096];
        SeededPattern.Fill(data, seed: 1, at: 8192);

        SeededPattern.FindDifference(data, seed: 1, at: 8192).Should().Be(-1);
        SeededPattern.FindDifference(data, seed: 2, at: 8192).Should().BeGreaterThanOrEqualTo(0);
        SeededPattern.FindDifference(data, seed: 1, at: 4096).Should().BeGreaterThanOrEqualTo(0);
        data[1234] ^= 1;
        SeededPattern.FindDifference(data, seed: 1, at: 8192).Should().Be(1234);
    }

    [Fact]
    public void Figures_leave_out_warm_up_pauses_and_the_end()
    {
        // A second of silence, eight busy intervals of which the first ones allocate, silence, and a last look.
        List<TrafficSampler.Sample> samples = new() { new(0, 0, 0) };
        Add(samples, requests: 0, allocated: 1000);
        for (int i = 0; i < 8; i++)
            Add(samples, requests: 1000, allocated: i < 2 ? 5000 : i == 7 ? 700 : 10);
        Add(samples, requests: 0, allocated: 9000);

        TrafficFigures figures = TrafficFigures.From(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(samples));

        figures.Requests.Should().Be(5000);
        figures.Allocated.Should().Be(50);
        figures.AllocatedPerRequest.Should().Be(0.010m);
        figures.Seconds.Should().BeApproximately(5 * 0.25, 1e-6);
    }

    [Theory]
    [InlineData(0, "ended after 12 requests, 1 of them failed")]
    [InlineData(8, "ended after 12 requests, 1 of them failed; steady traffic 40 requests/s")]
    [InlineData(10_000, "ended after 12 requests, 1 of them failed; steady traffic 40 requests/s, 0.125 bytes allocated a request")]
    public void What_a_server_allocates_is_told_only_when_there_were_requests_to_divide_it_by(long measured, string text) => new ServeReport
    {
        Socket = "s",
        CapacityBytes = 1 << 20,
        Requests = 12,
        Failed = 1,
        Dropped = 0,
        MeasuredRequests = measured,
        MeasuredSeconds = 1,
        Iops = 40,
        AllocatedBytesPerOp = 0.125m,
    }.ToText().Should().Be(text);

    [Fact]
    public async Task A_depth_beyond_the_ring_of_the_back_end_names_the_option()
    {
        using TempSocket socket = new();
        await using VhostUserBackend backend = new(new BlockDevice(new MemoryStorage(1 << 20), new BlockDeviceOptions { MaxQueueSize = 128 }));
        using CancellationTokenSource stop = new();
        Task serving = backend.ListenAsync(socket.Path, stop.Token);
        BenchSettings settings = new()
        {
            Socket = socket.Path,
            Pattern = AccessPattern.RandRead,
            QueueDepth = 64,
            BlockSize = 4096,
            Queues = 1,
            Seconds = 1,
            Poll = false,
            Processors = [],
        };
        await settings.Awaiting(wanted => BenchRun.RunAsync(wanted, CancellationToken.None).InTime())
            .Should().ThrowAsync<ToolException>().WithMessage("--queue-depth 64: needs a ring of 256 entries*refused*Choose less.");
        await stop.CancelAsync();
        await serving.InTime();
    }

    [Fact]
    public void Without_traffic_there_are_no_figures()
    {
        TrafficFigures.From([]).Should().Be(default(TrafficFigures));
        TrafficFigures.From([new(0, 0, 0), new(1, 0, 5), new(2, 0, 9)]).Should().Be(default(TrafficFigures));
    }

    [Theory]
    [InlineData(1, 1000, 5000)]
    [InlineData(2, 1000, 10)]
    [InlineData(3, 2000, 20)]
    public void A_sampler_that_got_few_looks_has_figures_all_the_same(int intervals, long requests, long allocated)
    {
        List<TrafficSampler.Sample> samples = new() { new(0, 0, 0) };
        for (int i = 0; i < intervals; i++)
            Add(samples, requests: 1000, allocated: i < 1 ? 5000 : 10);

        TrafficFigures figures = TrafficFigures.From(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(samples));

        figures.Requests.Should().Be(requests);
        figures.Allocated.Should().Be(allocated);
    }

    [Fact]
    public void What_is_allocated_once_is_not_what_an_operation_allocates()
    {
        AllocationSteps once = new();
        AllocationSteps always = new();
        foreach (long bytes in new[] { 0, 0, 6464, 0, 0 })
        {
            once.Add(bytes, 1_000_000);
            always.Add(bytes + 1_000_000, 1_000_000);
        }

        once.Add(5000, 0);

        once.PerOperation.Should().Be(0.000m);
        always.PerOperation.Should().Be(1.000m);
        new AllocationSteps().PerOperation.Should().Be(0.000m);
    }

    [Fact]
    public void Zero_has_three_decimals()
    {
        Rounding.PerOperation(0, 1000).ToString(System.Globalization.CultureInfo.InvariantCulture).Should().Be("0.000");
        Rounding.PerOperation(1, 3).ToString(System.Globalization.CultureInfo.InvariantCulture).Should().Be("0.334");
        Rounding.PerOperation(1, 1_000_000_000).ToString(System.Globalization.CultureInfo.InvariantCulture).Should().Be("0.001", "a byte is not nothing");
        Rounding.PerOperation(10, 0).ToString(System.Globalization.CultureInfo.InvariantCulture).Should().Be("0.000");
    }

    private static void Add(List<TrafficSampler.Sample> samples, long requests, long allocated)
    {
        TrafficSampler.Sample last = samples[^1];
        samples.Add(new(last.Timestamp + (Stopwatch.Frequency / 4), last.Requests + requests, last.Allocated + allocated));
    }
}
