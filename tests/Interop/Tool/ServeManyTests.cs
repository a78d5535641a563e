using System.Text.Json;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>One process that serves several sockets, and queues that share threads.</summary>
public sealed class ServeManyTests : IDisposable
{
    private readonly TempFolder _folder = new();

    private string First => _folder.File("1.sock");

    private string Second => _folder.File("2.sock");

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Disks_on_two_sockets_share_the_chosen_threads_on_the_chosen_processor(bool poll)
    {
        string[] images = [_folder.Image("1.img", 1 << 20), _folder.Image("2.img", 2 << 20)];
        int processor = Libc.AllowedProcessors()[^1];
        await using ChildProcess server = await ServeAsync(
            "disk", "blk", "--image", images[0], "--image", images[1], "--num-queues", "4", "--threads", "2", "--cpus", $"{processor}", "--json", poll ? "--poll" : "--aio=auto");
        byte[] data = new byte[4096];
        Random.Shared.NextBytes(data);

        await using (BlockClient one = await BlockClient.ConnectAsync(First, new BlockClientOptions { Queues = 4 }).InTime())
        await using (BlockClient two = await BlockClient.ConnectAsync(Second, new BlockClientOptions { Queues = 4 }).InTime())
        {
            (one.CapacityBytes, two.CapacityBytes).Should().Be((1 << 20, 2 << 20), "each socket has its image");
            await Task.WhenAll(Enumerable.Range(0, 8).Select(i => (i % 2 == 0 ? one : two).WriteAsync((ulong)i * 4096, data).AsTask())).InTime();
            ProcessThreads.ProcessorsOf(server.Id, "vhost queues ").Should().Equal(Enumerable.Repeat($"{processor}", 2), "eight queues share two threads");
            ProcessThreads.ProcessorsOf(server.Id, "vhost queue ").Should().BeEmpty();
            await one.FlushAsync().InTime();
        }

        JsonElement report = ToolProcess.Parse(await server.TerminateAsync());
        report.GetProperty("socket").GetString().Should().Be($"{First}, {Second}");
        report.GetProperty("capacity_bytes").GetInt64().Should().Be(3 << 20);
        report.GetProperty("requests").GetInt64().Should().BeGreaterThanOrEqualTo(9);
        (File.ReadAllBytes(images[0]).AsSpan(0, 4096).SequenceEqual(data), File.ReadAllBytes(images[1]).AsSpan(4096, 4096).SequenceEqual(data)).Should().Be((true, true));
        (File.Exists(First), File.Exists(Second)).Should().Be((false, false));
    }

    [Fact]
    public async Task Random_numbers_come_from_each_socket()
    {
        await using ChildProcess server = await ServeAsync("random", "rng", "--threads", "1", "--json");
        foreach (string socket in (string[])[First, Second])
        {
            await using VhostUserFrontend session = await VhostUserFrontend.ConnectAsync(socket).InTime();
            session.OfferedFeatures.Should().HaveFlag(VirtioFeatures.Version1);
        }

        ProcessThreads.ProcessorsOf(server.Id, "vhost queues ").Should().ContainSingle();
        ToolProcess.Parse(await server.TerminateAsync()).GetProperty("socket").GetString().Should().Contain(First).And.Contain(Second);
    }

    [Fact]
    public async Task Consoles_have_a_file_each()
    {
        string[] logs = [_folder.File("1.log"), _folder.File("2.log")];
        await using ChildProcess server = await ServeAsync("console", "console", "--file", logs[0], "--file", logs[1], "--json");
        foreach ((string socket, string text) in new[] { (First, "from the first"), (Second, "and the second") })
        {
            await using ConsoleClient guest = await ConsoleClient.ConnectAsync(socket).InTime();
            await guest.Ports[0].Output.WriteAsync(text).InTime();
            await guest.Ports[0].Output.CompleteAsync();
            await guest.Ports[0].Sent.InTime();
        }

        ToolProcess.Parse(await server.TerminateAsync()).GetProperty("bytes_from_guest").GetInt64().Should().Be(28);
        (await File.ReadAllTextAsync(logs[0])).Should().Be("from the first");
        (await File.ReadAllTextAsync(logs[1])).Should().Be("and the second");
    }

    [Fact]
    public async Task A_socket_that_cannot_be_served_ends_all()
    {
        ChildProcess.Outcome outcome = await ToolProcess.RunAsync("serve", "blk", "--null", "1G", "--socket-path", First, "--socket-path", "/nowhere/at/all");

        outcome.ExitCode.Should().Be(1);
        outcome.Errors[^1].Should().Contain("/nowhere/at/all");
        File.Exists(First).Should().BeFalse();
    }

    [Theory]
    [InlineData("blk --null 1G --socket-path a --socket-path a", "the same path is given twice")]
    [InlineData("blk --image i --socket-path a --socket-path b", "--image is given 1 times for 2 sockets")]
    [InlineData("blk --image i --image k --socket-path a", "--image is given 2 times for 1 sockets")]
    [InlineData("blk --null 1G --socket-path a --threads 0", "--threads '0': must be a number from 1 to 1024")]
    [InlineData("blk --null 1G --socket-path a --threads 1025", "--threads '1025'")]
    [InlineData("rng --socket-path a --threads two", "--threads 'two'")]
    [InlineData("rng --socket-path a --threads 1 --cpus 1023", "--cpu '1023': this process may only run on")]
    [InlineData("console --socket-path a --pty --threads 2", "a console is served on the thread pool")]
    [InlineData("console --socket-path a --pty --poll", "a console is served on the thread pool")]
    [InlineData("console --socket-path a --cpu 0 --pty", "a console is served on the thread pool")]
    [InlineData("console --socket-path a --socket-path b", "give --pty, or --file PATH for each")]
    [InlineData("console --socket-path a --socket-path b --file x", "--file is given 1 times for 2 sockets")]
    public async Task What_does_not_fit_together_is_named(string line, string complaint) =>
        (await ToolProcess.RunAsync(["serve", .. line.Split(' ')])).ShouldFail(exitCode: 2).Should().Contain(complaint);

    /// <summary>Serves on both sockets.</summary>
    private async Task<ChildProcess> ServeAsync(string what, string device, params string[] options)
    {
        ChildProcess server = ToolProcess.Start(["serve", device, "--socket-path", First, "--socket-path", Second, .. options]);
        try
        {
            await server.ErrorLineAsync($"on {First}");
            await server.ErrorLineAsync($"on {Second}");
            return server;
        }
        catch (Exception failure)
        {
            await server.DisposeAsync();
            throw new InvalidOperationException($"No {what} is served: {string.Join(" | ", server.Errors)}", failure);
        }
    }
}
