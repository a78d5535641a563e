using Microsoft.Extensions.Logging;
using Vhost.Backend.Tests.Rings;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>A log of the application's that fails is no reason to fail, least of all on threads where an exception ends the process.</summary>
[Collection(ProcessCounts.Name)]
public class LogFailureTests
{
    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task A_log_that_throws_costs_its_lines_and_nothing_else(QueueDispatch dispatch)
    {
        ThrowingLog log = new();
        EchoDevice device = new() { ThrowingQueue = 0 };
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        using QueueThreads threads = new(1);
        VhostUserBackendOptions options = new() { Dispatch = dispatch, Threads = dispatch == QueueDispatch.SharedThreads ? threads : null, LoggerFactory = log, DrainTimeout = TimeSpan.FromMilliseconds(100) };
        await using VhostUserBackend backend = new(device, options);
        Task serving = backend.ListenAsync(socket.Path, stop.Token);
        using TestGuest guest = new();
        using TestRing broken = new(guest, 0);
        using TestRing kept = new(guest, 1);
        await using (RawFrontend frontend = await RawFrontend.ConnectAsync(socket.Path))
        {
            await frontend.NegotiateAsync();
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(broken);
            broken.Error.Wait(Eventually.Deadline).Should().BeTrue("the queue broke on its worker, which said so in vain");
            device.KeepRequests = true;
            await frontend.StartAsync(kept);
            kept.SubmitAndKick(1);
            await Eventually.TrueAsync(() => device.Kept.Count == 1);
            await frontend.RefusedAsync(VhostUserRequest.SetVringNum, RawFrontend.State(9, 1));
        }

        // The worker of the second ring has something to say about its stop, too.
        device.KeepRequests = false;
        kept.StartAt(0);
        await using (RawFrontend next = await RawFrontend.ConnectAsync(socket.Path))
        {
            await next.NegotiateAsync();
            await next.AddMemoryAsync(guest);
            await next.StartAsync(kept);
            await kept.EchoAsync(2);
        }

        log.Calls.Should().BeGreaterThan(5);
        await stop.CancelAsync();
        await serving.InTime();
    }

    /// <summary>Everything about it fails except that it is made.</summary>
    private sealed class ThrowingLog : ILogger, ILoggerFactory
    {
        private int _calls;

        public int Calls => Volatile.Read(ref _calls);

        public bool IsEnabled(LogLevel logLevel) => Interlocked.Increment(ref _calls) % 2 == 0 ? true : throw new InvalidOperationException("the log is full");

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            throw new InvalidOperationException("the log is full");

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => throw new InvalidOperationException("the log is full");

        public void AddProvider(ILoggerProvider provider)
        {
        }

        public ILogger CreateLogger(string categoryName) => this;

        public void Dispose()
        {
        }
    }
}
