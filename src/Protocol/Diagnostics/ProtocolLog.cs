using Microsoft.Extensions.Logging;

namespace Vhost.Protocol;

/// <summary>Every log event of this assembly. A message of the protocol is one line with its decoded fields; never the contents of guest memory.</summary>
internal static partial class ProtocolLog
{
    internal static void Sent(ILogger? logger, string connection, VhostUserChannel channel, in VhostUserHeader header, ReadOnlySpan<byte> payload, int descriptors)
    {
        if (logger is not null && logger.IsEnabled(LogLevel.Trace))
            MessageSent(logger, connection, MessageText.Describe(channel, header, payload, descriptors));
    }

    internal static void Received(ILogger? logger, string connection, VhostUserChannel channel, in VhostUserHeader header, ReadOnlySpan<byte> payload, int descriptors)
    {
        if (logger is not null && logger.IsEnabled(LogLevel.Trace))
            MessageReceived(logger, connection, MessageText.Describe(channel, header, payload, descriptors));
    }

    internal static void ConnectAgain(ILogger? logger, string path, int errno)
    {
        if (logger is not null) NotConnected(logger, path, errno);
    }

    internal static void AcceptPostponed(ILogger? logger, string listener, int errno)
    {
        if (logger is not null) NotAccepted(logger, listener, errno);
    }

    internal static void StaleSocketReplaced(ILogger? logger, string path)
    {
        if (logger is not null) Replaced(logger, path);
    }

    internal static void ChannelEnded(ILogger? logger, string channel, string reason)
    {
        if (logger is not null) Ended(logger, channel, reason);
    }

    [LoggerMessage(1001, LogLevel.Trace, "{Connection} -> {Message}")]
    private static partial void MessageSent(ILogger logger, string connection, string message);

    [LoggerMessage(1002, LogLevel.Trace, "{Connection} <- {Message}")]
    private static partial void MessageReceived(ILogger logger, string connection, string message);

    [LoggerMessage(1003, LogLevel.Debug, "Nobody accepts connections on {Path} yet (errno {Errno}); trying again")]
    private static partial void NotConnected(ILogger logger, string path, int errno);

    [LoggerMessage(1004, LogLevel.Warning, "{Listener}: a peer is waiting, but this process cannot take it now (errno {Errno}); trying again")]
    private static partial void NotAccepted(ILogger logger, string listener, int errno);

    [LoggerMessage(1005, LogLevel.Information, "Replaced the stale socket file {Path}")]
    private static partial void Replaced(ILogger logger, string path);

    [LoggerMessage(1006, LogLevel.Debug, "{Channel} ended: {Reason}")]
    private static partial void Ended(ILogger logger, string channel, string reason);
}
