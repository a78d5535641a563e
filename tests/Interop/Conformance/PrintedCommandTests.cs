using System.CommandLine;
using Vhost.Backend;
using Vhost.Conformance;
using Vhost.Tests.Support;
using Vhost.Tool;

namespace Vhost.Interop.Tests.Conformance;

/// <summary>The command line of a report that runs a case alone is one that the program takes, and means what the run was.</summary>
public sealed class PrintedCommandTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public static TheoryData<TimeSpan> Timeouts => [ConformanceLimits.ShortestTimeout, TimeSpan.FromMilliseconds(250), TimeSpan.FromSeconds(1.5), ConformanceLimits.LongestTimeout];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(ConformanceLimits.LowestSeed, 0.75)]
    [InlineData(int.MaxValue, 600)]
    public async Task That_of_a_back_end_is_read_back(int seed, double seconds)
    {
        string path = _folder.File("it's a $HOME");
        await using VhostUserBackend backend = new(new EntropyDevice());
        using CancellationTokenSource stop = new();
        Task serving = backend.ListenAsync(path, stop.Token);
        BackendSuiteOptions options = new() { SocketPath = path, Device = "rng", Only = "negotiation/first-words", Seed = seed, Timeout = TimeSpan.FromSeconds(seconds) };

        ParseResult line = await ReadBackAsync(await new BackendSuite(options).RunAsync());

        line.GetValue<string>("--socket").Should().Be(path);
        line.GetValue<string>("--device").Should().Be("rng");
        line.GetValue<string>("--only").Should().Be("negotiation/first-words");
        line.GetValue<int>("--seed").Should().Be(seed);
        line.GetValue<decimal>("--timeout").Should().Be((decimal)seconds);
        await stop.CancelAsync();
        await serving.InTime();
    }

    [Theory]
    [MemberData(nameof(Timeouts))]
    public async Task That_of_a_front_end_is_read_back(TimeSpan timeout)
    {
        const string start = "exec sh -c 'echo \"$0\"' *";
        FrontendSuiteOptions options = new() { SocketPath = _folder.File("f"), Device = "net", Only = "conduct", Timeout = timeout, StartCommand = start };

        ParseResult line = await ReadBackAsync(await new FrontendSuite(options).RunAsync(cancellationToken: new CancellationToken(canceled: true)));

        line.GetValue<string>("--socket-path").Should().Be(options.SocketPath);
        line.GetValue<string>("--device").Should().Be("net");
        line.GetValue<string>("--start-command").Should().Be(start);
        line.GetValue<decimal>("--timeout").Should().Be((decimal)timeout.TotalSeconds);
    }

    /// <summary>As a shell takes the command of the first case.</summary>
    private static async Task<ParseResult> ReadBackAsync(ConformanceReport report)
    {
        ChildProcess.Outcome words = await ChildProcess.RunAsync("sh", "-c", $"set -- {report.Results[0].Command}; printf '%s\\n' \"$@\"");
        words.Output[0].Should().Be("vhost-user");
        ParseResult line = ToolMain.Parse([.. words.Output.Skip(1)]);
        line.Errors.Should().BeEmpty();
        return line;
    }
}
