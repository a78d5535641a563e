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

    [LoggerMessage(4005, LogLevel.Warning, "the service manager cannot be told '{Message}': {Reason}")]
    public static partial void NotNotified(ILogger logger, string message, string reason);
}
