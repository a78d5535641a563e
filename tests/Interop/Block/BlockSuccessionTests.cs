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

        Task<int> reading = ReadAsync();
        if (overMessage)
            await ((Func<Task>)(() => disk.Frontend.ReadConfigAsync(0, new byte[8]).AsTask())).Should().ThrowAsync<VhostUserTimeoutException>();
        await Eventually.TrueAsync(() => log.Lines.Any(line => line.Contains("still lives", StringComparison.Ordinal)));
        disk.Reconnections.Should().Be(0);
        reading.IsCompleted.Should().BeFalse();

        stuck.Signal(UnixSignal.Kill);
        (await reading.InTime()).Should().Be(BlockLength);
        await Eventually.TrueAsync(() => disk.Reconnections == 1);

        async Task<int> ReadAsync()
        {
            byte[] block = new byte[BlockLength];
            await disk.ReadAsync(0, block);
            return block.Length;
        }
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

    private sealed class Refusing(int times) : IVhostUserMessageHook
    {
        private int _left = times;

        internal int Left => Volatile.Read(ref _left);

        public MessageDecision Before(VhostUserMessage message, NegotiatedState state) =>
            message.Header.Request == (uint)VhostUserRequest.SetVringKick && _left > 0 && _left-- > 0 ? MessageDecision.Refuse("not yet") : MessageDecision.NotHandled;
    }
}
