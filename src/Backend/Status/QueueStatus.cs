using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>One queue, as it was when <see cref="VhostUserBackend.GetStatus"/> was called.</summary>
public sealed record QueueStatus
{
    /// <summary>Which queue of the device this is, from 0.</summary>
    public required int Index { get; init; }

    /// <summary>What the queue does.</summary>
    public required QueueState State { get; init; }

    /// <summary>Entries in the ring; 0 while the front-end has not said.</summary>
    public required int Size { get; init; }

    /// <summary>Where the front-end says that the ring lies, in its own addresses; null while it has not said.</summary>
    public required VhostUserVringAddress? Address { get; init; }

    /// <summary>
    /// Where a stopped ring goes on, in the form of VHOST_USER_SET_VRING_BASE; of a started one, how far requests were fetched from it at the moment (a packed ring: and where the next used descriptor goes).
    /// </summary>
    public required uint Base { get; init; }

    /// <summary>Whether the front-end gave a descriptor to be kicked with; without one the ring is looked at by the clock.</summary>
    public required bool HasKick { get; init; }

    /// <summary>Whether the front-end gave a descriptor to be called with; without one the driver looks for itself.</summary>
    public required bool HasCall { get; init; }

    /// <summary>
    /// Requests that the driver has offered and the device has not taken, 0 to <see cref="Size"/>: what is on the ring at the moment, counted and not checked. 0 while the queue is stopped, waits for memory or is broken.
    /// </summary>
    public required int Available { get; init; }

    /// <summary>Requests taken and not given back yet.</summary>
    public required int InFlight { get; init; }

    /// <summary>Why the queue is <see cref="QueueState.Broken"/>.</summary>
    public required VirtqueueFault Fault { get; init; }

    /// <summary>The fault in words; null while there is none.</summary>
    public required string? FaultDetail { get; init; }

    /// <summary>What the queue has done so far.</summary>
    public required QueueStatistics Statistics { get; init; }
}
