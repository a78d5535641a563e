using Microsoft.Extensions.Logging;

namespace Vhost.Frontend;

/// <summary>Log events of the front-end, 2000 to 2999.</summary>
internal static partial class FrontendLog
{
    [LoggerMessage(2000, LogLevel.Information, "Session with {Peer} ready: {Queues} queue(s), features {Features}, protocol {ProtocolFeatures}")]
    public static partial void SessionReady(ILogger logger, string peer, int queues, string features, string protocolFeatures);

    [LoggerMessage(2001, LogLevel.Warning, "Session with {Peer} ended: {Reason}")]
    public static partial void SessionLost(ILogger logger, string peer, string reason);

    [LoggerMessage(2002, LogLevel.Debug, "Session with {Peer} disposed")]
    public static partial void SessionDisposed(ILogger logger, string peer);

    [LoggerMessage(2010, LogLevel.Information, "The back-end offers protocol feature bits unknown here, left alone: 0x{Bits:x}")]
    public static partial void UnknownProtocolBits(ILogger logger, ulong bits);

    [LoggerMessage(2020, LogLevel.Debug, "Memory table of {Regions} region(s) in place")]
    public static partial void MemoryTableSet(ILogger logger, int regions);

    [LoggerMessage(2021, LogLevel.Debug, "Memory slots in place: {Removed} removed, {Added} added, {Total} in all")]
    public static partial void MemorySlotsChanged(ILogger logger, int removed, int added, int total);

    [LoggerMessage(2030, LogLevel.Debug, "Ring {Index} started: size {Size}, base {ResumeAt}")]
    public static partial void RingStarted(ILogger logger, int index, int size, VringBase resumeAt);

    [LoggerMessage(2031, LogLevel.Debug, "Ring {Index} stopped at {ResumeAt}")]
    public static partial void RingStopped(ILogger logger, int index, VringBase resumeAt);

    [LoggerMessage(2032, LogLevel.Warning, "Ring {Index} could not be stopped after its start failed: {Reason}")]
    public static partial void RingNotStopped(ILogger logger, int index, string reason);

    [LoggerMessage(2033, LogLevel.Warning, "Ring {Index}: kicks go no further: {Reason}")]
    public static partial void KickFailed(ILogger logger, uint index, string reason);

    [LoggerMessage(2034, LogLevel.Warning, "Ring {Index}: kick refused ({Count} so far): {Reason}")]
    public static partial void KickRefused(ILogger logger, uint index, long count, string reason);

    [LoggerMessage(2040, LogLevel.Warning, "Request of the back-end refused ({Count} so far): {Reason}")]
    public static partial void BackendRequestRefused(ILogger logger, long count, string reason);

    [LoggerMessage(2041, LogLevel.Warning, "Channel of the back-end closed: {Reason}")]
    public static partial void BackendChannelLost(ILogger logger, string reason);

    [LoggerMessage(2042, LogLevel.Debug, "Channel of the back-end closed by the back-end")]
    public static partial void BackendChannelEnded(ILogger logger);

    [LoggerMessage(2043, LogLevel.Error, "A handler failed on {Request} ({Count} so far)")]
    public static partial void HandlerFailed(ILogger logger, Exception exception, string request, long count);

    [LoggerMessage(2044, LogLevel.Warning, "The user of host notifiers has not returned yet; a page that it has stays mapped until it does")]
    public static partial void HostNotifierUserWaits(ILogger logger);

    [LoggerMessage(2047, LogLevel.Error, "Shared memory cannot be unmapped: {Problem}")]
    public static partial void SharedMemoryStays(ILogger logger, string problem);

    [LoggerMessage(2045, LogLevel.Warning, "GPU channel closed: {Reason}")]
    public static partial void GpuChannelLost(ILogger logger, string reason);

    [LoggerMessage(2046, LogLevel.Debug, "GPU channel closed by the back-end")]
    public static partial void GpuChannelEnded(ILogger logger);

    [LoggerMessage(2048, LogLevel.Warning, "A driver has ended, and a device behind the same IOMMU may still use what was at I/O virtual address 0x{Address:x}, size 0x{Size:x}")]
    public static partial void MappingStays(ILogger logger, Exception exception, ulong address, ulong size);

    [LoggerMessage(2050, LogLevel.Debug, "Device reset by {Method}")]
    public static partial void DeviceReset(ILogger logger, DeviceResetMethod method);

    [LoggerMessage(2060, LogLevel.Error, "A progress callback of a block request failed")]
    public static partial void ProgressFailed(ILogger logger, Exception exception);

    [LoggerMessage(2061, LogLevel.Warning, "The changed configuration of the block device could not be read; the one before stays in force")]
    public static partial void BlockConfigNotRenewed(ILogger logger, Exception exception);

    [LoggerMessage(2070, LogLevel.Warning, "The back-end does not note the requests it works on (INFLIGHT_SHMFD): when it is lost the client ends")]
    public static partial void CannotReconnect(ILogger logger);

    [LoggerMessage(2074, LogLevel.Debug, "The back-end does not note the requests it works on (INFLIGHT_SHMFD): when it is lost the rings are made anew and what it did not answer is submitted again")]
    public static partial void RingsWillBeRebuilt(ILogger logger);

    [LoggerMessage(2075, LogLevel.Information, "Queue {Queue}: {Count} requests that the lost back-end had not answered are submitted again")]
    public static partial void RingRebuilt(ILogger logger, int queue, int count);

    [LoggerMessage(2076, LogLevel.Information, "Queue {Queue}: the ring is made anew, {Count} packets that were under way are lost")]
    public static partial void PacketsLost(ILogger logger, int queue, int count);

    [LoggerMessage(2071, LogLevel.Warning, "The back-end was lost, the next one is looked for: {Reason}")]
    public static partial void BackendLost(ILogger logger, string reason);

    [LoggerMessage(2072, LogLevel.Debug, "No other back-end yet: {Reason}")]
    public static partial void BackendNotReplaced(ILogger logger, string reason);

    [LoggerMessage(2073, LogLevel.Information, "Another back-end has taken over, the {Count}. time")]
    public static partial void BackendReplaced(ILogger logger, int count);
}
