using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Log events of the back-end. Exactly one line above Debug for each cause; callers ask a <see cref="LogBudget"/> where a peer could flood. Lines about a queue begin with whose it is
/// (<see cref="DeviceVirtqueue.Owner"/>) and say its format.
/// </summary>
internal static partial class BackendLog
{
    [LoggerMessage(3001, LogLevel.Debug, "{Peer}: front-end connected")]
    public static partial void Connected(ILogger logger, string peer);

    [LoggerMessage(3002, LogLevel.Debug, "{Peer}: front-end disconnected")]
    public static partial void Disconnected(ILogger logger, string peer);

    [LoggerMessage(3003, LogLevel.Warning, "{Peer}: connection closed: {Reason}")]
    public static partial void Closed(ILogger logger, string peer, string reason);

    [LoggerMessage(3004, LogLevel.Error, "{Peer}: connection closed after an internal error")]
    public static partial void SessionFailed(ILogger logger, string peer, Exception exception);

    [LoggerMessage(3005, LogLevel.Warning, "{Peer}: refused: {Reason}")]
    public static partial void Refused(ILogger logger, string peer, string reason);

    [LoggerMessage(3006, LogLevel.Warning, "{Peer}: ignored: {Reason}")]
    public static partial void Ignored(ILogger logger, string peer, string reason);

    [LoggerMessage(3007, LogLevel.Trace, "received {Message}", SkipEnabledCheck = true)]
    public static partial void Received(ILogger logger, string message);

    [LoggerMessage(3008, LogLevel.Debug, "the device or a message hook threw; the line that follows from it says the rest")]
    public static partial void DeviceFailed(ILogger logger, Exception exception);

    [LoggerMessage(3009, LogLevel.Warning, "a connection could not be accepted; trying again: {Reason}")]
    public static partial void AcceptFailed(ILogger logger, string reason);

    [LoggerMessage(3010, LogLevel.Debug, "listening on {Path}")]
    public static partial void Listening(ILogger logger, string path);

    [LoggerMessage(3011, LogLevel.Error, "a handler of an event, or a message hook that was told of a message, threw")]
    public static partial void EventHandlerFailed(ILogger logger, Exception exception);

    [LoggerMessage(3012, LogLevel.Debug, "{Path}: no front-end yet, trying again in {Seconds} s: {Reason}")]
    public static partial void ConnectLater(ILogger logger, string path, double seconds, string reason);

    [LoggerMessage(3101, LogLevel.Debug, "{Owner}: queue {Queue} ({Ring}): started with {Size} descriptors at index {Base}, enabled: {Enabled}")]
    public static partial void QueueStarted(ILogger logger, string owner, int queue, string ring, int size, uint @base, bool enabled);

    [LoggerMessage(3102, LogLevel.Debug, "{Owner}: queue {Queue} ({Ring}): stopped at index {Base}")]
    public static partial void QueueStopped(ILogger logger, string owner, int queue, string ring, uint @base);

    [LoggerMessage(3103, LogLevel.Error, "{Owner}: queue {Queue} ({Ring}): broken: {Fault}: {Detail}; it is out of service until it is restarted")]
    public static partial void QueueBroken(ILogger logger, string owner, int queue, string ring, VirtqueueFault fault, string detail, Exception? exception);

    [LoggerMessage(3104, LogLevel.Warning, "{Owner}: queue {Queue} ({Ring}): stopped with {InFlight} requests that the device did not complete within {Seconds} s")]
    public static partial void DrainTimedOut(ILogger logger, string owner, int queue, string ring, int inFlight, double seconds);

    [LoggerMessage(3105, LogLevel.Warning, "{Owner}: queue {Queue} ({Ring}): the memory of the ring was removed; it waits until the ring is mapped again")]
    public static partial void RingMemoryRemoved(ILogger logger, string owner, int queue, string ring);

    [LoggerMessage(3106, LogLevel.Warning, "{Owner}: queue {Queue} ({Ring}): waiting for the kick failed")]
    public static partial void KickFailed(ILogger logger, string owner, int queue, string ring, Exception exception);

    [LoggerMessage(3112, LogLevel.Information, "{Owner}: queue {Queue} ({Ring}): {Count} requests that the back-end before had not answered are served again")]
    public static partial void RequestsLeft(ILogger logger, string owner, int queue, string ring, int count);

    [LoggerMessage(3114, LogLevel.Warning, "{Owner}: queue {Queue} ({Ring}): what the in-flight area says cannot be of this ring; whatever it was about is not served again")]
    public static partial void LeftDiscarded(ILogger logger, string owner, int queue, string ring);

    [LoggerMessage(3115, LogLevel.Warning, "{Owner}: queue {Queue} ({Ring}): {Count} entries of the in-flight area cannot be of this ring; what they were about is not served again, the others are")]
    public static partial void LeftBad(ILogger logger, string owner, int queue, string ring, int count);

    [LoggerMessage(3116, LogLevel.Warning, "{Owner}: queue {Queue} ({Ring}): a request that the back-end before had not answered is refused and given back with nothing written: {Detail}")]
    public static partial void LeftRefused(ILogger logger, string owner, int queue, string ring, string detail);

    [LoggerMessage(3113, LogLevel.Debug, "{Peer}: in-flight area in file {File}: {Bytes} bytes for {Queues} queues of {Size} entries")]
    public static partial void InflightArea(ILogger logger, string peer, ulong file, ulong bytes, ushort queues, ushort size);

    [LoggerMessage(3117, LogLevel.Warning, "{Peer}: {Count} writes were outside the dirty log of {Pages} pages and are not in it")]
    public static partial void LogTooSmall(ILogger logger, string peer, long count, ulong pages);

    [LoggerMessage(3107, LogLevel.Critical, "{Owner}: queue {Queue} ({Ring}): the worker ended unexpectedly")]
    public static partial void WorkerFailed(ILogger logger, string owner, int queue, string ring, Exception exception);

    [LoggerMessage(3108, LogLevel.Warning, "{Owner}: queue {Queue} ({Ring}): cannot be bound to processor {Processor}: {Reason}")]
    public static partial void PinFailed(ILogger logger, string owner, int queue, string ring, int processor, string reason);

    [LoggerMessage(3109, LogLevel.Warning, "image {Path}: io_uring cannot be used, requests wait for the disk one after the other: {Reason}")]
    public static partial void NoIoRing(ILogger logger, string path, string reason);

    [LoggerMessage(3110, LogLevel.Debug, "{Owner}: queue {Queue} ({Ring}): started, and waits for memory that holds it: {Explanation}")]
    public static partial void QueueWaits(ILogger logger, string owner, int queue, string ring, string explanation);

    [LoggerMessage(3118, LogLevel.Warning, "{Owner}: queue {Queue} ({Ring}): stopped while the IOMMU translates its ring no more; {Count} requests that are done cannot be shown to the driver")]
    public static partial void HeldBackLost(ILogger logger, string owner, int queue, string ring, int count);

    [LoggerMessage(3119, LogLevel.Warning, "{Peer}: a queue waits for a translation of its IOMMU, and the front-end has given no back-end channel on which to ask for it (VHOST_USER_SET_BACKEND_REQ_FD)")]
    public static partial void NoChannelForMisses(ILogger logger, string peer);

    [LoggerMessage(3120, LogLevel.Debug, "{Peer}: without the back-end channel no translation comes any more: the connection is ended, so that the front-end connects again")]
    public static partial void TranslationsLost(ILogger logger, string peer);

    [LoggerMessage(3201, LogLevel.Debug, "{Peer}: the back-end channel was closed by the front-end")]
    public static partial void ChannelClosed(ILogger logger, string peer);

    [LoggerMessage(3202, LogLevel.Warning, "{Peer}: the back-end channel is given up: {Reason}")]
    public static partial void ChannelFailed(ILogger logger, string peer, string reason);
}
