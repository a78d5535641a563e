using Microsoft.Extensions.Logging;

namespace Vhost.Backend.Hosting;

/// <summary>Log events of hosting.</summary>
internal static partial class HostingLog
{
    [LoggerMessage(4001, LogLevel.Information, "{Backend}: serving {Where}")]
    public static partial void Serving(ILogger logger, string backend, string where);

    [LoggerMessage(4002, LogLevel.Information, "{Backend}: stopped")]
    public static partial void Stopped(ILogger logger, string backend);

    [LoggerMessage(4003, LogLevel.Critical, "{Backend}: cannot go on; the host stops")]
    public static partial void Failed(ILogger logger, string backend, Exception exception);

    [LoggerMessage(4004, LogLevel.Warning, "{Backend}: did not stop in the time that the host gives; it is left behind")]
    public static partial void LeftBehind(ILogger logger, string backend);

    [LoggerMessage(4006, LogLevel.Information, "{Backend}: has come to its end; the host stops")]
    public static partial void Ended(ILogger logger, string backend);

    [LoggerMessage(4007, LogLevel.Information, "{Backend}: the service manager's socket '{Socket}' is used, and {Settings} not")]
    public static partial void Overridden(ILogger logger, string backend, string socket, string settings);

    [LoggerMessage(4008, LogLevel.Warning, "{Backend}: the service manager's socket '{Socket}' is used, and not Client: there is no connecting to {Path}")]
    public static partial void ClientOverridden(ILogger logger, string backend, string socket, string path);

    [LoggerMessage(4009, LogLevel.Warning, "No back-end takes what the service manager has passed: {Socket}. Whoever connects there waits, unless another part of the program uses it (KeepSystemdSocket says that it does); the name that a back-end looks for is its SocketName, or its own")]
    public static partial void SocketLeft(ILogger logger, string socket);

    [LoggerMessage(4010, LogLevel.Information, "The service manager has passed what is none of a back-end, and is left alone: {Socket}")]
    public static partial void NoSocketOfOurs(ILogger logger, string socket);

    [LoggerMessage(4011, LogLevel.Error, "{Backend}: cannot be disposed")]
    public static partial void NotDisposed(ILogger logger, string backend, Exception exception);

    [LoggerMessage(4012, LogLevel.Error, "{Backend}: a handler of Changed threw")]
    public static partial void HandlerFailed(ILogger logger, string backend, Exception exception);

    [LoggerMessage(4005, LogLevel.Warning, "the service manager cannot be told '{Message}': {Reason}")]
    public static partial void NotNotified(ILogger logger, string message, string reason);
}
