using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Vhost.Backend.Tests;

/// <summary>Keeps every log line.</summary>
internal sealed class LogCollector : ILoggerFactory, ILogger
{
    private readonly ConcurrentQueue<(LogLevel Level, string Text)> _lines = new();

    /// <summary>Lines above Debug.</summary>
    public IReadOnlyList<string> Complaints => [.. _lines.Where(line => line.Level > LogLevel.Debug).Select(line => line.Text)];

    public IReadOnlyList<string> All => [.. _lines.Select(line => $"{line.Level}: {line.Text}")];

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        _lines.Enqueue((logLevel, exception is null ? formatter(state, exception) : $"{formatter(state, exception)}: {exception}"));

    public void Dispose()
    {
    }
}
