using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>A front-end came or went.</summary>
/// <param name="peer">The connection in words.</param>
public sealed class FrontendConnectionEventArgs(string peer) : EventArgs
{
    /// <summary>The connection in words: its path, and the process at the other end where the kernel tells.</summary>
    public string Peer => peer;
}

/// <summary>The driver acknowledged another set of features.</summary>
/// <param name="before">What was acknowledged before; none at first.</param>
/// <param name="now">What is acknowledged now.</param>
public sealed class FeaturesChangedEventArgs(VirtioFeatures before, VirtioFeatures now) : EventArgs
{
    /// <summary>What was acknowledged before; none at first and after a reset.</summary>
    public VirtioFeatures Before => before;

    /// <summary>What is acknowledged now.</summary>
    public VirtioFeatures Now => now;
}

/// <summary>A queue does something else than before.</summary>
/// <param name="queue">Which queue.</param>
/// <param name="before">What it did.</param>
/// <param name="now">What it does.</param>
public sealed class QueueStateChangedEventArgs(int queue, QueueState before, QueueState now) : EventArgs
{
    /// <summary>Which queue of the device, from 0.</summary>
    public int Queue => queue;

    /// <summary>What it did.</summary>
    public QueueState Before => before;

    /// <summary>What it does.</summary>
    public QueueState Now => now;
}

/// <summary>The driver was notified.</summary>
/// <param name="queue">Which queue.</param>
public sealed class DriverNotifiedEventArgs(int queue) : EventArgs
{
    /// <summary>Which queue of the device, from 0.</summary>
    public int Queue => queue;
}
