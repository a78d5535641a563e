using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// What the messages have said about one ring so far. Run state and enable state are independent; the worker exists while the ring is started
/// and its memory is mapped. Only the session touches this; a worker that found a fault only signals <see cref="SignalError"/>.
/// </summary>
internal sealed class VringState(int index)
{
    private const long NoBase = -1;

    private readonly Lock _errorGate = new();
    private EventNotifier? _error;

    // Whole for whoever looks from outside (BackendSession.Status.cs).
    private StrongBox<VhostUserVringAddress>? _address;
    private long _base = NoBase;

    public int Index { get; } = index;

    /// <summary>Queue size in descriptors; 0: not said yet.</summary>
    public ushort Size { get; set; }

    /// <summary>The addresses as the front-end said them; they are looked up when the ring starts.</summary>
    public VhostUserVringAddress? Address
    {
        get => _address?.Value;
        set => _address = value is { } said ? new StrongBox<VhostUserVringAddress>(said) : null;
    }

    /// <summary>Where the ring goes on: what SET_VRING_BASE said, or where it stopped. Null: a fresh ring.</summary>
    public uint? Base
    {
        get => Volatile.Read(ref _base) is var known and not NoBase ? (uint)known : null;
        set => Volatile.Write(ref _base, value ?? NoBase);
    }

    public EventNotifier? Kick { get; set; }

    public EventNotifier? Call { get; set; }

    public bool Started { get; set; }

    public bool Enabled { get; set; }

    /// <summary>Runs the ring; null while stopped, or while started without memory.</summary>
    public QueueWorker? Worker { get; set; }

    /// <summary>Any thread.</summary>
    public QueueState State => !Started ? QueueState.Stopped
        : Worker is not { } worker ? QueueState.WaitsForMemory
        : worker.Queue.Fault != VirtqueueFault.None ? QueueState.Broken
        : Enabled ? QueueState.Running : QueueState.Disabled;

    public void ReplaceError(EventNotifier? error)
    {
        EventNotifier? old;
        lock (_errorGate)
        {
            old = _error;
            _error = error;
        }

        old?.Dispose();
    }

    /// <summary>Tells the front-end that the ring broke. Any thread.</summary>
    public void SignalError()
    {
        EventNotifier? error;
        lock (_errorGate)
        {
            error = _error;
        }

        try
        {
            // Not under the lock: should the front-end manage to block the write, only this thread waits.
            error?.Signal();
        }
        catch (ObjectDisposedException)
        {
            // Replaced at this moment: whoever replaced it knows that the queue is restarted.
        }
    }

    /// <summary>Forgets size, addresses and base: the device was reset. Descriptors for interrupts and errors stay.</summary>
    public void Forget()
    {
        Size = 0;
        Address = null;
        Base = null;
        Enabled = false;
    }

    public void CloseDescriptors()
    {
        Kick?.Dispose();
        Kick = null;
        Call?.Dispose();
        Call = null;
        ReplaceError(null);
    }
}
