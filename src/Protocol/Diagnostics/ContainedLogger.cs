using Microsoft.Extensions.Logging;

namespace Vhost.Protocol;

/// <summary>
/// Passes on to a logger of the application's, and keeps to itself what that throws. Lines are written on threads where nobody could catch an exception (a
/// worker's, the thread pool's), and in the middle of steps that must be finished: a log that fails costs its lines and nothing else.
/// </summary>
internal sealed class ContainedLogger : ILogger
{
    private readonly ILogger _inner;
    private long _lost;

    private ContainedLogger(ILogger inner) => _inner = inner;

    internal static ILogger Around(ILogger logger) => logger as ContainedLogger ?? new ContainedLogger(logger);

    internal static ILogger? AroundOptional(ILogger? logger) => logger is null ? null : Around(logger);

    /// <summary>Calls that failed.</summary>
    internal long Lost => Interlocked.Read(ref _lost);

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => _inner.BeginScope(state);

    public bool IsEnabled(LogLevel logLevel)
    {
        try
        {
            return _inner.IsEnabled(logLevel);
        }
        catch (Exception)
        {
            Interlocked.Increment(ref _lost);
            return false;
        }
    }

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        try
        {
            _inner.Log(logLevel, eventId, state, exception, formatter);
        }
        catch (Exception)
        {
            Interlocked.Increment(ref _lost);
        }
    }
}
