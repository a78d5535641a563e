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
            await RequirePauseAsync(path, time);
        });
    }

    /// <summary>Whoever comes behind a backlog of those does not wait for a pause after each of them.</summary>
    [Fact]
    public async Task After_a_pause_sixteen_are_let_in_together()
    {
        FakeTimeProvider time = new();
        await RunAsync(time, async path =>
        {
            for (int i = 0; i <= Forgiven; i++)
                await BreakAsync(path);
            await time.TimersAsync(); // the pause
            List<RawFrontend> line = [];
            for (int i = 0; i < 40; i++)
                line.Add(await BeginToBreakAsync(path));
            await using RawFrontend last = await RawFrontend.ConnectAsync(path);
            Task served = last.BarrierAsync();

            foreach (RawFrontend[] together in line.Chunk(16))
            {
                served.IsCompleted.Should().BeFalse();
                await time.TimersAsync();
                time.Advance(_pause);
                foreach (RawFrontend one in together)
                {
                    await one.ExpectClosedAsync();
                    await one.DisposeAsync();
                }
            }

            await served.InTime();
        });
    }

    [Fact]
    public async Task Those_that_have_left_again_when_a_pause_ends_are_dropped()
    {
        FakeTimeProvider time = new();
        await RunAsync(time, async path =>
        {
            for (int i = 0; i <= Forgiven; i++)
                await BreakAsync(path);
            await time.TimersAsync(); // the pause
            for (int i = 0; i < 100; i++)
                await (await BeginToBreakAsync(path)).DisposeAsync();
            await using RawFrontend last = await RawFrontend.ConnectAsync(path);
            Task served = last.BarrierAsync();

            time.Advance(_pause);

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

    /// <summary>By an error of ours, as far as is known: whoever can bring it about can do so again and again.</summary>
    [Fact]
    public async Task Sessions_that_end_by_an_error_are_followed_by_a_pause_too()
    {
        FakeTimeProvider time = new();
        await RunAsync(new VhostUserBackendOptions { TimeProvider = time }, new UnwellDevice(), async path =>
        {
            for (int i = 0; i <= Forgiven; i++)
                await FailAsync(path);
            await RequirePauseAsync(path, time);
        });
    }

    [Fact]
    public async Task Sessions_that_end_by_an_error_do_not_fill_the_log()
    {
        LogRecorder log = new(Microsoft.Extensions.Logging.LogLevel.Warning);
        await RunAsync(new VhostUserBackendOptions { TimeProvider = new FakeTimeProvider(), LoggerFactory = log, ViolationPause = TimeSpan.Zero }, new UnwellDevice(), async path =>
        {
            for (int i = 0; i < 40; i++)
                await FailAsync(path);
        });
        log.Entries.Should().HaveCount(32);
    }

    [Fact]
    public async Task Those_that_just_leave_are_followed_at_once() => await RunAsync(new FakeTimeProvider(), async path =>
    {
        for (int i = 0; i < 3 * Forgiven; i++)
            await ServeAsync(path);
    });

    private static Task RunAsync(FakeTimeProvider time, Func<string, Task> dialogue) => RunAsync(new VhostUserBackendOptions { TimeProvider = time }, new EchoDevice(), dialogue);

    private static async Task RunAsync(VhostUserBackendOptions options, IVhostUserDevice device, Func<string, Task> dialogue)
    {
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        await using VhostUserBackend backend = new(device, options);
        Task serving = backend.ListenAsync(socket.Path, stop.Token);
        await dialogue(socket.Path);
        await stop.CancelAsync();
        await serving.InTime();
    }

    /// <summary>The next one is served when the pause has passed, and not before.</summary>
    private static async Task RequirePauseAsync(string path, FakeTimeProvider time)
    {
        await time.TimersAsync(); // the pause
        await using RawFrontend next = await RawFrontend.ConnectAsync(path);
        Task served = next.BarrierAsync();
        time.Advance(_pause - TimeSpan.FromMilliseconds(1));
        served.IsCompleted.Should().BeFalse();
        time.Advance(TimeSpan.FromMilliseconds(1));
        await served.InTime();
    }

    private static async Task FailAsync(string path)
    {
        await using RawFrontend frontend = await RawFrontend.ConnectAsync(path);
        await frontend.NegotiateAsync();
        await frontend.SendAsync(VhostUserRequest.SetVringNum, RawFrontend.State(0, TestRing.Size));
        await frontend.ExpectClosedAsync();
    }

    private static async Task BreakAsync(string path)
    {
        await using RawFrontend frontend = await BeginToBreakAsync(path);
        await frontend.ExpectClosedAsync();
    }

    private static async Task<RawFrontend> BeginToBreakAsync(string path)
    {
        RawFrontend frontend = await RawFrontend.ConnectAsync(path);
        byte[] message = new byte[VhostUserHeader.EncodedSize];
        VhostUserHeader.ForRequest(VhostUserRequest.GetFeatures, 0).Write(message);
        message[4] = 2; // a version that there is not
        await frontend.Connection.SendRawAsync(message);
        return frontend;
    }

    private static async Task ServeAsync(string path)
    {
        await using RawFrontend frontend = await RawFrontend.ConnectAsync(path);
        await frontend.BarrierAsync().InTime();
    }

    /// <summary>A device that does not say any more how large its rings may be, once a driver has come.</summary>
    private sealed class UnwellDevice : IVhostUserDevice
    {
        private bool _isUnwell;

        public int QueueCount => 1;

        public VirtioFeatures Features => VirtioFeatures.Version1;

        public ushort MaxQueueSize => _isUnwell ? throw new InvalidOperationException("for a test") : (ushort)256;

        public void Configure(VirtioFeatures acknowledged) => _isUnwell = true;

        public void Process(DeviceVirtqueue queue)
        {
            // No queue gets that far.
        }
    }
}
