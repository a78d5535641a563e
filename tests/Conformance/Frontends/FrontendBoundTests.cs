using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>A case that a front-end keeps busy for ever has an end.</summary>
public sealed class FrontendBoundTests
{
    private static readonly TimeSpan _most = TimeSpan.FromSeconds(2);

    [Fact]
    public async Task A_case_that_blocks_its_thread_is_given_up_and_the_next_one_runs()
    {
        using ManualResetEventSlim over = new();
        using TempSocket socket = new();
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path);
        await using FrontendExamination examination = new(new() { SocketPath = socket.Path }, listener) { MostOfACase = _most };
        await using HostileFrontend frontend = new(socket.Path, new());

        ConformanceResult blocked = await examination.RunAsync(Case(_ => Block(over)), default).InTime();
        ConformanceResult next = await examination.RunAsync(Case(static peer => peer.ServedAsync()), default).InTime();
        over.Set();

        blocked.Verdict.Should().Be(ConformanceVerdict.Fail);
        blocked.Expected.Should().Be("an end within 2 s");
        blocked.Came.Should().Be("the case went on, and was given up");
        next.Verdict.Should().Be(ConformanceVerdict.Pass);
    }

    [Fact]
    public async Task It_has_half_a_minute_and_twenty_timeouts_for_that()
    {
        using TempSocket socket = new();
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path);

        await using FrontendExamination examination = new(new() { SocketPath = socket.Path, Timeout = TimeSpan.FromSeconds(3) }, listener);

        examination.MostOfACase.Should().Be(TimeSpan.FromSeconds(90));
    }

    private static FrontendCase Case(Func<FrontendPeer, Task> run) => new(new("bounds/case", "bounds", "A case", "", ConformanceLevel.Must), run);

    private static Task Block(ManualResetEventSlim until)
    {
        until.Wait();
        return Task.CompletedTask;
    }
}
