using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// What the messages have said about one ring so far. Run state and enable state are independent; the worker exists while the ring is started
/// and its memory is mapped. Only the session touches this; a worker that found a fault only signals <see cref="TrySignalError"/>.
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

    /// <summary>Wakes the worker; null: it looks at the ring by itself, now and then.</summary>
    public EventNotifier? Kick { get; private set; }

    /// <summary><see cref="Kick"/> is our own, signalled by messages (INBAND_NOTIFICATIONS).</summary>
    public bool IsKickedInband { get; private set; }

    /// <summary>The front-end's descriptor for interrupts.</summary>
    public EventNotifier? Call { get; set; }

    /// <summary>Interrupts and errors as messages, where the front-end has given no descriptor for them; null where those are not negotiated, and before the first start.</summary>
    public InbandSignals? Inband { get; set; }

    public bool Started { get; set; }

    public bool Enabled { get; set; }

    /// <summary>
    /// It was stopped by force, while the device worked on requests of it, or with some that are done and cannot be shown: they come back to nobody, there is no place from which another back-end could go on
    /// without losing them, and their buffers may be written to still.
    /// </summary>
    public bool StoppedAtWork { get; set; }

    /// <summary>Runs the ring; null while stopped, or while started without memory.</summary>
    public QueueWorker? Worker { get; set; }

    /// <summary>Any thread.</summary>
    public QueueState State => !Started ? QueueState.Stopped
        : Worker is not { } worker ? QueueState.WaitsForMemory
        : worker.Queue.Fault != VirtqueueFault.None ? QueueState.Broken
        : worker.Queue.IsSuspended ? QueueState.WaitsForMemory
        : Enabled ? QueueState.Running : QueueState.Disabled;

    /// <summary>Another descriptor for kicks, or none.</summary>
    public void ReplaceKick(EventNotifier? kick)
    {
        Kick?.Dispose();
        Kick = kick;
        IsKickedInband = false;
    }

    /// <summary>Kicks come as messages from now on.</summary>
    public void KickInband()
    {
        ReplaceKick(new EventNotifier());
        IsKickedInband = true;
    }

    /// <summary>The descriptor for kicks, which the caller disposes.</summary>
    public EventNotifier? TakeKick()
    {
        EventNotifier? kick = Kick;
        Kick = null;
        return kick;
    }

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

    /// <summary>Tells the front-end by its descriptor that the ring broke. Any thread.</summary>
    /// <returns>Whether it has one.</returns>
    public bool TrySignalError()
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

        return error is not null;
    }

    /// <summary>Forgets size, addresses and base: the device was reset. Descriptors for interrupts and errors stay.</summary>
    public void Forget()
    {
        Size = 0;
        Address = null;
        Base = null;
        Enabled = false;
        StoppedAtWork = false;
    }

    public void CloseDescriptors()
    {
        ReplaceKick(null);
        Inband?.Dispose();
        Call?.Dispose();
        Call = null;
        ReplaceError(null);
    }
}
