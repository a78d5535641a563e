using System.Text.Json;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>The commands that use a disk, against <c>serve blk</c> in another process.</summary>
public sealed class BlockCommandTests : IDisposable
{
    private readonly TempFolder _folder = new();

    private string SocketPath => _folder.File("s");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task What_is_written_can_be_read_and_is_in_the_image()
    {
        string image = _folder.Image("i", 8 << 20);
        string data = _folder.Data("d", 3 << 20);
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--image", image);

        JsonElement written = await ToolProcess.JsonAsync("blk", "write", "--socket", SocketPath, "--offset", "1M", "--input", data);
        JsonElement read = await ToolProcess.JsonAsync("blk", "read", "--socket", SocketPath, "--offset", "1M", "--length", "3M", "--output", _folder.File("o"));

        written.GetProperty("bytes").GetInt64().Should().Be(3 << 20);
        read.GetProperty("offset").GetInt64().Should().Be(1 << 20);
        File.ReadAllBytes(_folder.File("o")).AsSpan().SequenceEqual(File.ReadAllBytes(data)).Should().BeTrue();
        File.ReadAllBytes(image).AsSpan(1 << 20, 3 << 20).SequenceEqual(File.ReadAllBytes(data)).Should().BeTrue();
        (await server.TerminateAsync()).ExitCode.Should().Be(0);
    }

    [Fact]
    public async Task Verify_uses_the_whole_disk_and_all_queues()
    {
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--memory", "16M", "--num-queues", "4");

        JsonElement report = await ToolProcess.JsonAsync("blk", "verify", "--socket", SocketPath, "--queues", "4", "--seed", "7");

        report.GetProperty("bytes_verified").GetInt64().Should().Be(16 << 20);
        report.GetProperty("queues").GetInt32().Should().Be(4);
    }

    [Fact]
    public async Task Verify_gives_each_queue_its_share()
    {
        long[] requests = new long[4];
        Lock gate = new();
        BlockDevice disk = new(new MemoryStorage(1 << 20), new BlockDeviceOptions { Queues = 4 });
        await using VhostUserBackend backend = new(new MisbehavingDisk(Count, queues: 4));
        using CancellationTokenSource stop = new();
        Task serving = backend.ListenAsync(SocketPath, stop.Token);

        JsonElement report = await ToolProcess.JsonAsync("blk", "verify", "--socket", SocketPath, "--queues", "4");
        await stop.CancelAsync();
        await serving.InTime();

        report.GetProperty("queues").GetInt32().Should().Be(4);
        requests.Should().OnlyContain(count => count == 8 || count == 9, "1 MiB in requests of 64 KiB, there and back, and one flush");
        requests.Sum().Should().Be(33);

        void Count(DeviceVirtqueue queue)
        {
            lock (gate)
            {
                long before = disk.Statistics.Served;
                disk.Process(queue);
                requests[queue.Index] += disk.Statistics.Served - before;
            }
        }
    }

    [Theory]
    [InlineData("1M", "queues used: 1 (of 2 asked)")]
    [InlineData("512", "queues used: 1 (of 2 asked)")]
    public async Task Verify_tells_when_it_used_fewer_queues_than_asked(string length, string expected)
    {
        string queues = length == "512" ? "2" : "1";
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--memory", "1M", "--num-queues", queues);

        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("blk", "verify", "--socket", SocketPath, "--queues", "2", "--length", length);

        outcome.ExitCode.Should().Be(0);
        outcome.Output.Should().ContainSingle().Which.Should().Contain(expected);
    }

    [Fact]
    public async Task Verify_finds_a_disk_that_forgets()
    {
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--null", "1M");

        (await ToolProcess.RunAsync("blk", "verify", "--socket", SocketPath)).ShouldFail(exitCode: 1).Should().Contain("differs");
    }

    [Fact]
    public async Task Probe_and_info_describe_the_disk()
    {
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--memory", "64M", "--num-queues", "2");

        JsonElement probe = await ToolProcess.JsonAsync("probe", "--socket", SocketPath);
        JsonElement info = await ToolProcess.JsonAsync("blk", "info", "--socket", SocketPath);
        ChildProcess.Outcome text = await ToolProcess.RunAsync("probe", "--socket", SocketPath);

        probe.GetProperty("block").GetProperty("capacity_bytes").GetInt64().Should().Be(64 << 20);
        probe.GetProperty("negotiation").GetProperty("queues_got").GetInt32().Should().Be(2);
        info.GetProperty("id").GetString().Should().Be("vhost-user-blk");
        info.GetProperty("config").GetProperty("queues").GetInt32().Should().Be(2);
        text.ExitCode.Should().Be(0);
        text.OutputText.Should().Contain("features offered").And.Contain("67108864 bytes (64M)").And.NotContain("\u001b");
        text.OutputText.Should().Contain("BLK_SIZE").And.Contain("asked, not got");
        probe.GetProperty("negotiation").GetProperty("features_offered").EnumerateArray().Select(name => name.GetString()).Should().Contain("BLK_SIZE");
    }

    [Theory]
    [InlineData("--queue-depth", "32", "--poll")]
    [InlineData("--queue-depth", "4", "--queues", "2", "--rw", "write")]
    public async Task Bench_measures_and_neither_side_allocates(params string[] arguments)
    {
        bool poll = arguments.Contains("--poll");

        // A short interval on a loaded machine still contains a little that happens once, such as a new thread of the pool.
        decimal most = poll ? 0.05m : 1m;
        (JsonElement bench, JsonElement serve) = await MeasureAsync(poll, seconds: 2, arguments);
        for (int seconds = 4; seconds <= 8 && !(AllocatedBy(serve) < most && AllocatedBy(bench) < most); seconds *= 2)
            (bench, serve) = await MeasureAsync(poll, seconds, arguments); // on a busy machine the first looks may all be of the warm-up

        bench.GetProperty("iops").GetInt64().Should().BePositive();
        JsonElement latency = bench.GetProperty("latency_us");
        latency.GetProperty("p99").GetDecimal().Should().BeGreaterThanOrEqualTo(latency.GetProperty("p50").GetDecimal());
        bench.GetProperty("allocated_bytes_per_op").GetRawText().Should().MatchRegex(@"^\d+\.\d{3}$");
        AllocatedBy(bench).Should().BeLessThan(most);
        serve.GetProperty("requests").GetInt64().Should().BeGreaterThanOrEqualTo(bench.GetProperty("operations").GetInt64());
        AllocatedBy(serve).Should().BeLessThan(most);
    }

    [Fact]
    public async Task Bench_says_that_the_peer_left()
    {
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--null", "1G");
        await using ChildProcess bench = ToolProcess.Start("blk", "bench", "--socket", SocketPath, "--seconds", "60");
        await Eventually.TrueAsync(() => HasConnection(bench.Id));

        server.Signal(UnixSignal.Kill);

        (await bench.EndAsync()).ShouldFail(exitCode: 1).Should().Contain(SocketPath);
    }

    [Theory]
    [InlineData("blk bench --seconds 60", UnixSignal.Terminate)]
    [InlineData("blk bench --seconds 60", UnixSignal.Interrupt)]
    [InlineData("blk bench --seconds 60 --poll", UnixSignal.Interrupt)]
    [InlineData("blk verify --length 999999G", UnixSignal.Interrupt)]
    public async Task Long_work_can_be_interrupted(string command, int signal)
    {
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--null", "999999G");
        await using ChildProcess client = ToolProcess.Start([.. command.Split(' '), "--socket", SocketPath]);
        await Eventually.TrueAsync(() => HasConnection(client.Id));

        client.Signal(signal);

        (await client.EndAsync()).ShouldFail(exitCode: 1).Should().Contain("Interrupted");
        (await server.TerminateAsync()).ExitCode.Should().Be(0, "the server does not mind");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Served_queues_run_on_the_given_processor(bool poll)
    {
        int processor = Libc.AllowedProcessors()[^1];
        await using ChildProcess server = await ToolProcess.ServeAsync(
            ["--socket-path", SocketPath, "--null", "1G", "--num-queues", "2", "--cpu", $"{processor}", .. poll ? ["--poll"] : Array.Empty<string>()]);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Queues = 2 });

        await Eventually.TrueAsync(() => ProcessThreads.ProcessorsOf(server.Id, "vhost queue ") is { Count: 2 } found && found.All(list => list == $"{processor}"));
    }

    [Theory]
    [InlineData(false, ".NET TP Worker")]
    [InlineData(true, "bench queue ")]
    public async Task Bench_runs_on_the_given_processor(bool poll, string threads)
    {
        int processor = Libc.AllowedProcessors()[^1];
        await using ChildProcess server = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--null", "1G");
        await using ChildProcess bench = ToolProcess.Start(
            ["blk", "bench", "--socket", SocketPath, "--seconds", "60", "--cpu", $"{processor}", .. poll ? ["--poll"] : Array.Empty<string>()]);

        await Eventually.TrueAsync(() => ProcessThreads.ProcessorsOf(bench.Id, threads) is { Count: > 0 } found && found.All(list => list == $"{processor}"));
    }

    private async Task<(JsonElement Bench, JsonElement Serve)> MeasureAsync(bool poll, int seconds, string[] arguments)
    {
        await using ChildProcess server = await ToolProcess.ServeAsync(
            ["--socket-path", SocketPath, "--null", "1G", "--num-queues", "2", "--json", .. poll ? ["--poll"] : Array.Empty<string>()]);
        JsonElement bench = await ToolProcess.JsonAsync(["blk", "bench", "--socket", SocketPath, "--seconds", $"{seconds}", "--block-size", "4K", .. arguments]);
        return (bench, ToolProcess.Parse(await server.TerminateAsync()));
    }

    /// <summary>What a side says of itself; both always have a figure once they were busy.</summary>
    private static decimal AllocatedBy(JsonElement side) => side.GetProperty("allocated_bytes_per_op").GetDecimal();

    /// <summary>The client's shared memory is mapped: the connection stands and signals are handled.</summary>
    private static bool HasConnection(int process)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/maps").Contains("vhost-block-client", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }
}
