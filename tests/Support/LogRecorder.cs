using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Vhost.Tests.Support;

/// <summary>Keeps what was logged, of a storm the newest part: a test that looks for kept memory must not find the lines.</summary>
public sealed class LogRecorder(LogLevel lowest = LogLevel.Trace) : ILogger, ILoggerFactory
{
    private const int MostEntries = 20_000;

    private readonly ConcurrentQueue<(LogLevel Level, int Id, string Text)> _entries = new();
    private readonly ConcurrentQueue<Exception> _exceptions = new();
    private readonly ConcurrentQueue<(int Id, TaskCompletionSource<string> Came)> _awaited = new();

    public IReadOnlyCollection<(LogLevel Level, int Id, string Text)> Entries => _entries;

    public IEnumerable<string> Lines => _entries.Select(entry => entry.Text);

    /// <summary>Exceptions that came with lines.</summary>
    public IReadOnlyCollection<Exception> Exceptions => _exceptions;

    /// <summary>The first line with a number, which may be still to come.</summary>
    public Task<string> WhenAsync(int id)
    {
        TaskCompletionSource<string> came = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _awaited.Enqueue((id, came));
        foreach ((_, int logged, string text) in _entries)
        {
            if (logged == id)
                came.TrySetResult(text);
        }

        return came.Task.InTime();
    }

    public bool IsEnabled(LogLevel logLevel) => logLevel >= lowest;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (exception is not null)
            _exceptions.Enqueue(exception);
        string line = formatter(state, exception);
        _entries.Enqueue((logLevel, eventId.Id, line));
        if (_entries.Count > MostEntries)
            _ = _entries.TryDequeue(out _);
        foreach ((int id, TaskCompletionSource<string> came) in _awaited)
        {
            if (id == eventId.Id)
                came.TrySetResult(line);
        }
    }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public ILogger CreateLogger(string categoryName) => this;

    public void Dispose()
    {
    }
}
