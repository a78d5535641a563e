using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Who may take over from a back-end, and what is tried again until somebody does.</summary>
public sealed class BlockSuccessionTests : IDisposable
{
    private const int BlockLength = 4096;

    private static readonly ReconnectPolicy _quick = new() { Delay = TimeSpan.FromMilliseconds(5) };

    /// <summary>Does not wait for requests when it ends.</summary>
    private static readonly VhostUserBackendOptions _hasty = new() { DrainTimeout = TimeSpan.FromMilliseconds(50) };

    private readonly TempFolder _folder = new();

    private string SocketPath => _folder.File("s");

    public void Dispose() => _folder.Dispose();

    /// <summary>It is given up, and whoever comes next gets the request: here the same one, which has learnt to answer.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_request_that_is_overdue_ends_the_back_end_and_not_the_client(bool hasRegion)
    {
        bool answers = false;
        Action<DeviceVirtqueue> good = MisbehavingDisk.Answer(VirtioBlkStatus.Ok, static chain => chain.Writable.Length);
        MisbehavingDisk device = new(queue =>
        {
            if (Volatile.Read(ref answers))
                good(queue);
            else
                queue.TakeBurst();
        });
        await using BackendLife life = new(SocketPath, device, hasRegion ? _hasty : _hasty with { WithheldProtocolFeatures = VhostUserProtocolFeatures.InflightShmFd });
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Reconnect = _quick, RequestTimeout = TimeSpan.FromMilliseconds(400) });
        disk.ConnectionLost += (_, _) => Volatile.Write(ref answers, true);

        await disk.ReadAsync(0, new byte[BlockLength]).InTime();

        await Eventually.TrueAsync(() => disk.Reconnections > 0);
        disk.Completion.IsCompleted.Should().BeFalse();
    }

    /// <summary>It has requests in its hands, and wakes up one day: what it writes then goes where others' requests are.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_process_that_was_given_up_must_end_before_another_one_takes_over(bool overMessage)
    {
        string image = _folder.Image("i", 1 << 20);
        using LogRecorder log = new();
        await using ChildProcess stuck = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--image", image);
        await using BlockClient disk = await BlockClient.ConnectAsync(
            SocketPath, new BlockClientOptions
            {
                Reconnect = _quick,
                RequestTimeout = overMessage ? Timeout.InfiniteTimeSpan : TimeSpan.FromMilliseconds(400),
                ReplyTimeout = TimeSpan.FromSeconds(overMessage ? 1 : 10),
                LoggerFactory = log,
            });
        stuck.Signal(UnixSignal.Stop);
        File.Delete(SocketPath);
        await using ChildProcess next = await ToolProcess.ServeAsync("--socket-path", SocketPath, "--image", _folder.Image("j", 1 << 20)); // the first one has the image locked

        Task reading = disk.ReadAsync(0, new byte[BlockLength]).AsTask();
        if (overMessage)
            await ((Func<Task>)(() => disk.Frontend.ReadConfigAsync(0, new byte[8]).AsTask())).Should().ThrowAsync<VhostUserTimeoutException>();
        await ShouldFollowOnlyWhenItEndsAsync(stuck, disk, log, reading);
    }

    /// <summary>Whoever made the socket, a service manager perhaps, lives on; those who answer are others, who got it from there.</summary>
    [Fact]
    public async Task The_process_that_must_end_is_the_one_that_answers_not_the_one_that_made_the_socket()
    {
        using LogRecorder log = new();
        using Socket listening = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listening.Bind(new UnixDomainSocketEndPoint(SocketPath));
        listening.Listen();
        await using ChildProcess stuck = await ServeInheritedAsync(listening);
        await using BlockClient disk = await BlockClient.ConnectAsync(
            SocketPath, new BlockClientOptions { Reconnect = _quick, RequestTimeout = TimeSpan.FromMilliseconds(400), LoggerFactory = log });
        stuck.Signal(UnixSignal.Stop);
        await using ChildProcess next = await ServeInheritedAsync(listening);

        await ShouldFollowOnlyWhenItEndsAsync(stuck, disk, log, disk.ReadAsync(0, new byte[BlockLength]).AsTask());
    }

    /// <summary>It has had memory and rings, and nobody knows what it does with them.</summary>
    [Fact]
    public async Task One_that_failed_to_take_over_must_end_too_before_another_process_does()
    {
        using MemoryStorage storage = new(1 << 20);
        using LogRecorder log = new();
        BackendLife first = new(SocketPath, storage);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Reconnect = _quick, LoggerFactory = log });
        await first.DisposeAsync();
        await using (new BackendLife(SocketPath, new BlockDevice(storage), new VhostUserBackendOptions { MessageHook = new Refusing(times: int.MaxValue) }))
            await Eventually.TrueAsync(() => log.Lines.Any(line => line.Contains("anything else refused", StringComparison.Ordinal)));

        await using (await ToolProcess.ServeAsync("--socket-path", SocketPath, "--memory", "1M"))
            await Eventually.TrueAsync(() => log.Lines.Any(line => line.Contains($"Process {Environment.ProcessId}, which", StringComparison.Ordinal) && line.Contains("still lives", StringComparison.Ordinal)));
        disk.Reconnections.Should().Be(0);

        await using BackendLife again = new(SocketPath, storage);
        await disk.ReadAsync(0, new byte[BlockLength]).InTime();
        await Eventually.TrueAsync(() => disk.Reconnections == 1);
    }

    [Fact]
    public async Task A_verdict_that_comes_late_does_not_end_the_session_that_follows()
    {
        using MemoryStorage storage = new(1 << 20);
        BackendLife first = new(SocketPath, storage);
        VhostUserFrontendOptions options = new BlockClientOptions { Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline } }.ForSession();
        SessionSource source = SessionSource.Connecting(SocketPath);
        await using SessionSuccession sessions = new(await source.OpenAsync(options, CancellationToken.None), source, _quick, options, NullLogger.Instance);
        sessions.Watch(new Undemanding());
        SessionVerdict verdict = sessions.Verdict;
        await first.DisposeAsync();
        await using BackendLife second = new(SocketPath, storage);
        await Eventually.TrueAsync(() => sessions.Count == 1);

        verdict.GiveUp(new VhostUserTimeoutException("too late"));
        sessions.Verdict.Reason.IsCompleted.Should().BeFalse();
        sessions.Verdict.GiveUp(new VhostUserTimeoutException("in time"));

        await Eventually.TrueAsync(() => sessions.Count == 2);
        sessions.Verdict.Reason.IsCompleted.Should().BeFalse();
        await sessions.Current.ReadConfigAsync(0, new byte[8]).InTime();
    }

    /// <summary>It may be out of descriptors, or not yet done with the requests of the last session.</summary>
    [Fact]
    public async Task A_back_end_that_refuses_to_start_is_asked_again()
    {
        using MemoryStorage storage = new(1 << 20);
        BackendLife first = new(SocketPath, storage);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Reconnect = _quick });
        await disk.WriteAsync(0, new byte[BlockLength]);
        await first.DisposeAsync();

        Refusing hook = new(times: 3);
        await using BackendLife second = new(SocketPath, new BlockDevice(storage), new VhostUserBackendOptions { MessageHook = hook });

        await disk.ReadAsync(0, new byte[BlockLength]).InTime();
        hook.Left.Should().Be(0);
        await Eventually.TrueAsync(() => disk.Reconnections == 1);
    }

    [Fact]
    public async Task A_handler_that_throws_costs_nothing_when_the_next_one_serves()
    {
        using MemoryStorage storage = new(1 << 20);
        BackendLife first = new(SocketPath, storage);
        await using BlockClient disk = await BlockClient.ConnectAsync(SocketPath, new BlockClientOptions { Reconnect = _quick });
        disk.Reconnected += static (_, _) => throw new InvalidOperationException("a handler's own trouble");
        await first.DisposeAsync();
        await using BackendLife second = new(SocketPath, storage);

        await disk.WriteAsync(0, new byte[BlockLength]).InTime();

        disk.Completion.IsCompleted.Should().BeFalse();
    }

    private static async Task ShouldFollowOnlyWhenItEndsAsync(ChildProcess stuck, BlockClient disk, LogRecorder log, Task reading)
    {
        await Eventually.TrueAsync(() => log.Lines.Any(line => line.Contains($"Process {stuck.Id}, which", StringComparison.Ordinal) && line.Contains("still lives", StringComparison.Ordinal)));
        disk.Reconnections.Should().Be(0);
        reading.IsCompleted.Should().BeFalse();

        stuck.Signal(UnixSignal.Kill);
        await reading.InTime();
        await Eventually.TrueAsync(() => disk.Reconnections == 1);
    }

    private static async Task<ChildProcess> ServeInheritedAsync(Socket listening)
    {
        using InheritableDescriptor descriptor = new(listening.SafeHandle);
        return await ToolProcess.ServeAsync("--fd", descriptor.Number, "--memory", "1M");
    }

    /// <summary>Wants nothing of a session but that it is there.</summary>
    private sealed class Undemanding : ISuccessionClient
    {
        public bool CanGoOn => true;

        public void Suspend(VhostUserFrontend lost)
        {
        }

        public ValueTask StartOverAsync(VhostUserFrontend next, GuestMemory memory, CancellationToken stop) => ValueTask.CompletedTask;

        public void Resume()
        {
        }

        public void Fail(Exception reason)
        {
        }
    }

    private sealed class Refusing(int times) : IVhostUserMessageHook
    {
        private int _left = times;

        internal int Left => Volatile.Read(ref _left);

        public MessageDecision Before(VhostUserMessage message, NegotiatedState state) =>
            message.Header.Request == (uint)VhostUserRequest.SetVringKick && _left > 0 && _left-- > 0 ? MessageDecision.Refuse("not yet") : MessageDecision.NotHandled;
    }
}
