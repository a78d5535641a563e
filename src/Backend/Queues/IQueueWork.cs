using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Requests of a queue that the kernel works on between the turns of its worker. The device leaves it at the queue; the worker waits for it beside the kick, and
/// moves it along also while the ring is not served, so that a ring that is being stopped comes to rest.
/// </summary>
internal interface IQueueWork
{
    /// <summary>Can be consumed after something has completed; null where nothing completes by itself, and the worker does all of it in <see cref="Advance"/>.</summary>
    EventNotifier? Completed { get; }

    /// <summary>There is nothing to advance at present; what completes from now on shows at <see cref="Completed"/>. On the worker.</summary>
    bool IsIdle { get; }

    /// <summary>Gives back what has completed, as much as a turn may take. On the worker.</summary>
    void Advance();

    /// <summary>The worker has left the ring for good. What still goes on ends by itself, and then everything is let go of.</summary>
    void Leave();
}
