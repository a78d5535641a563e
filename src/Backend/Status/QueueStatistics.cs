namespace Vhost.Backend;

/// <summary>What a queue has done since its <see cref="VhostUserBackend"/> was made, whatever front-ends and restarts there were.</summary>
/// <param name="Completed">Requests given back to the driver.</param>
/// <param name="Batches">Groups of requests shown to the driver at once.</param>
/// <param name="Kicks">Notifications by the driver that were consumed. None are asked for while the queue is busy or polled.</param>
/// <param name="Calls">Notifications sent to the driver.</param>
/// <param name="SuppressedCalls">Batches shown without a notification, because the driver asked for none.</param>
/// <param name="Recovered">Requests that an earlier back-end had taken and not given back, found in the in-flight area.</param>
/// <param name="Faults">How often the queue broke.</param>
public readonly record struct QueueStatistics(long Completed, long Batches, long Kicks, long Calls, long SuppressedCalls, long Recovered, long Faults);
