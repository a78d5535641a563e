using Microsoft.Extensions.Logging;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>
/// A back-end on a real socket, and the invariants that hold after every hostile peer: the process lives, descriptors and mappings are back where
/// they were, memory is bounded, the processors are idle, a fresh and well-behaved front-end on the same socket is served, and each cause left
/// exactly one line above Debug. A <see cref="Bystander"/> was not held up meanwhile.
/// </summary>
internal sealed class HostileBench : IAsyncDisposable
{
    private readonly TempSocket _socket = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly VhostUserBackend _backend;
    private readonly Task _serving;
    private readonly bool _judgesStalls;
    private readonly QueueThreads? _threads;
    private Bystander? _bystander;
    private ProcessCounts? _baseline;
    private ProcessHealth? _health;

    private HostileBench(EchoDevice device, VhostUserBackendOptions options, IVhostUserDevice served)
    {
        Device = device;
        // A polling worker takes a processor and the test another: on two there is nothing left for a bystander, whoever is at fault.
        _judgesStalls = options.Dispatch != QueueDispatch.BusyPoll || Environment.ProcessorCount > 2;
        _threads = options.Dispatch == QueueDispatch.SharedThreads ? new QueueThreads(1) : null;
        _backend = new VhostUserBackend(served, options with { LoggerFactory = Log, Threads = _threads, ViolationPause = TimeSpan.Zero });
        _serving = _backend.ListenAsync(_socket.Path, _stop.Token);
    }

    public EchoDevice Device { get; }

    public VhostUserBackend Backend => _backend;

    public LogRecorder Log { get; } = new(LogLevel.Debug);

    /// <summary>What was logged above Debug.</summary>
    public IReadOnlyList<string> Complaints => [.. Log.Entries.Where(entry => entry.Level > LogLevel.Debug).Select(entry => entry.Text)];

    public string SocketPath => _socket.Path;

    /// <summary>Listens, and has served a well-behaved front-end.</summary>
    /// <param name="device">What serves the queues; null: an echo.</param>
    /// <param name="options">How.</param>
    /// <param name="served">The device, where that is another one around <paramref name="device"/>.</param>
    public static async Task<HostileBench> StartAsync(EchoDevice? device = null, VhostUserBackendOptions? options = null, IVhostUserDevice? served = null)
    {
        device ??= new EchoDevice();
        HostileBench bench = new(device, options ?? new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromSeconds(2) }, served ?? device);
        // Everything that is opened once a process exists after the first connection.
        await bench.ServeWellBehavedAsync();
        await bench.WaitUntilIdleAsync();
        bench._bystander = await Bystander.WatchAsync();
        bench._baseline = ProcessCounts.Snapshot();
        bench._health = ProcessHealth.Snapshot();
        return bench;
    }

    public Task<RawFrontend> ConnectAsync() => RawFrontend.ConnectAsync(SocketPath);

    /// <summary>A connected front-end that has acknowledged everything.</summary>
    public async Task<RawFrontend> NegotiatedAsync(bool replyAck = true)
    {
        RawFrontend frontend = await ConnectAsync();
        await frontend.NegotiateAsync(replyAck);
        return frontend;
    }

    /// <summary>One negotiated front-end attacks and goes away; then the invariants are checked. What the attack opens it must close.</summary>
    /// <param name="lines">Lines above Debug that the attack causes.</param>
    /// <param name="attack">The attack.</param>
    /// <param name="options">Options of the back-end.</param>
    public static async Task AttackAsync(int lines, Func<RawFrontend, Task> attack, VhostUserBackendOptions? options = null)
    {
        await using HostileBench bench = await StartAsync(options: options);
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
            await attack(frontend);
        await bench.CheckInvariantsAsync(lines);
    }

    /// <summary>Checks the invariants. Hostile front-ends must have been disposed by the caller.</summary>
    /// <param name="lines">Lines above Debug that the test has caused; null where that depends on chance.</param>
    public async Task CheckInvariantsAsync(int? lines)
    {
        _serving.IsCompleted.Should().BeFalse("the back-end should still listen");
        await ServeWellBehavedAsync();
        await WaitUntilIdleAsync();
        EndWatching(judge: _judgesStalls);
        _baseline!.AssertBack();
        _health!.AssertMemoryBounded();
        await ProcessHealth.AssertIdleAsync();
        Complaints.Should().HaveCount(lines ?? Complaints.Count, "each cause is logged once; the lines were: {0}", string.Join(" | ", Complaints));
    }

    public async ValueTask DisposeAsync()
    {
        EndWatching(judge: false);
        await _stop.CancelAsync();
        await _serving.WaitAsync(TimeSpan.FromSeconds(20));
        await _backend.DisposeAsync();
        _threads?.Dispose();
        _socket.Dispose();
        _stop.Dispose();
    }

    private void EndWatching(bool judge)
    {
        Bystander? watching = Interlocked.Exchange(ref _bystander, null);
        if (judge)
            watching?.Check();
        else
            watching?.End();
    }

    private async Task ServeWellBehavedAsync()
    {
        using TestGuest guest = new(slot: 7);
        using TestRing ring = new(guest, 0);
        await using RawFrontend frontend = await NegotiatedAsync();
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await ring.EchoAsync(0x5c);
        (await frontend.StopAsync(ring)).Should().Be(1);
    }

    private async Task WaitUntilIdleAsync()
    {
        await Eventually.TrueAsync(() => !_backend.IsConnected);
    }
}
