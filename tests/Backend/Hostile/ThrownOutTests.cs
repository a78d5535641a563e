using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Front-ends that break the rules, are thrown out and come again at once.</summary>
public sealed class ThrownOutTests
{
    private const int Forgiven = 16;

    private static readonly TimeSpan _pause = new VhostUserBackendOptions().ViolationPause;

    [Fact]
    public async Task Whoever_is_thrown_out_again_and_again_waits_before_the_next_turn()
    {
        FakeTimeProvider time = new();
        await RunAsync(time, async path =>
        {
            for (int i = 0; i <= Forgiven; i++)
                await BreakAsync(path);
            await time.TimersAsync(); // the pause

            await using RawFrontend next = await RawFrontend.ConnectAsync(path);
            Task served = next.BarrierAsync();
            time.Advance(_pause - TimeSpan.FromMilliseconds(1));
            served.IsCompleted.Should().BeFalse();
            time.Advance(TimeSpan.FromMilliseconds(1));
            await served.InTime();
        });
    }

    [Fact]
    public async Task Time_without_violations_is_forgiveness()
    {
        FakeTimeProvider time = new();
        await RunAsync(time, async path =>
        {
            for (int i = 0; i < Forgiven; i++)
                await BreakAsync(path);
            await ServeAsync(path); // it is known by now that the last one was thrown out
            time.Advance(3 * _pause);

            for (int i = 0; i < 3; i++)
                await BreakAsync(path);
            await ServeAsync(path);
        });
    }

    [Fact]
    public async Task Those_that_just_leave_are_followed_at_once() => await RunAsync(new FakeTimeProvider(), async path =>
    {
        for (int i = 0; i < 3 * Forgiven; i++)
            await ServeAsync(path);
    });

    private static async Task RunAsync(FakeTimeProvider time, Func<string, Task> dialogue)
    {
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        await using VhostUserBackend backend = new(new EchoDevice(), new VhostUserBackendOptions { TimeProvider = time });
        Task serving = backend.ListenAsync(socket.Path, stop.Token);
        await dialogue(socket.Path);
        await stop.CancelAsync();
        await serving.InTime();
    }

    private static async Task BreakAsync(string path)
    {
        await using RawFrontend frontend = await RawFrontend.ConnectAsync(path);
        byte[] message = new byte[VhostUserHeader.EncodedSize];
        VhostUserHeader.ForRequest(VhostUserRequest.GetFeatures, 0).Write(message);
        message[4] = 2; // a version that there is not
        await frontend.Connection.SendRawAsync(message);
        await frontend.ExpectClosedAsync();
    }

    private static async Task ServeAsync(string path)
    {
        await using RawFrontend frontend = await RawFrontend.ConnectAsync(path);
        await frontend.BarrierAsync().InTime();
    }
}
