using Microsoft.Extensions.Logging;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A session that is disposed while something is done with it gives everything back all the same.</summary>
[Collection(ProcessCounts.Name)]
public sealed class DisposeTests
{
    [Fact]
    public async Task A_table_that_the_session_made_while_it_was_disposed_is_given_back()
    {
        using HoldingLog log = new("Memory slots in place");
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { LoggerFactory = log });
        ProcessCounts before = ProcessCounts.Snapshot();
        using (SharedMemory ram = SharedMemory.CreateSealed("ram", 0x1000))
        {
            Task<GuestMemory> adding = Task.Run(async () => await dialogue.Session.AddMemoryAsync(new GuestMemoryRegion(new GuestAddress(0x1000), ram)));
            log.Held.Wait(Eventually.Deadline).Should().BeTrue("the back-end has the region, and the session is about to take its table");
            await dialogue.Session.DisposeAsync().InTime();
            log.GoOn.Set();
            (await adding.InTime()).Released.IsCompleted.Should().BeTrue("nobody else will give it back");
        }

        await dialogue.Backend.DisposeAsync();
        before.AssertBack();
    }

    /// <summary>Holds up whoever logs a certain line.</summary>
    private sealed class HoldingLog(string line) : ILogger, ILoggerFactory
    {
        public ManualResetEventSlim Held { get; } = new();

        public ManualResetEventSlim GoOn { get; } = new();

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (!formatter(state, exception).StartsWith(line, StringComparison.Ordinal))
                return;
            Held.Set();
            GoOn.Wait(Eventually.Deadline);
        }

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public void AddProvider(ILoggerProvider provider)
        {
        }

        public ILogger CreateLogger(string categoryName) => this;

        public void Dispose()
        {
            Held.Dispose();
            GoOn.Dispose();
        }
    }
}
