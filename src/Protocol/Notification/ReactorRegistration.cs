using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>One descriptor's place in the reactor: at most one wait of each kind at a time (for readable, for writable, for the end of the other side), reused without allocation.</summary>
internal sealed class ReactorRegistration : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Reactor _reactor;
    private readonly SafeFileHandle _descriptor;
    private readonly int _slot;
    private readonly ReadinessWait _readable = new();
    private readonly ReadinessWait _writable = new();
    private readonly ReadinessWait _hungUp = new();
    private uint _wait;
    private uint _armed;
    private bool _added;
    private bool _disposed;

    internal ReactorRegistration(Reactor reactor, SafeFileHandle descriptor, int slot, uint lastWait)
    {
        bool held = false;
        descriptor.DangerousAddRef(ref held);
        (_reactor, _descriptor, _slot, _wait) = (reactor, descriptor, slot, lastWait);
    }

    /// <summary>
    /// When set, an event that says only "hung up" ends no wait. A pipe whose other end is gone is hung up for ever and never readable:
    /// reporting it would send its owner round in circles.
    /// </summary>
    internal bool IgnoreHangUp { get; init; }

    /// <summary>Completes when the descriptor can be read or is at its end.</summary>
    internal ValueTask ReadableAsync(CancellationToken cancellationToken) => StartAsync(_readable, Libc.EPOLLIN, cancellationToken);

    /// <summary>Completes when the descriptor can be written or is broken.</summary>
    internal ValueTask WritableAsync(CancellationToken cancellationToken) => StartAsync(_writable, Libc.EPOLLOUT, cancellationToken);

    /// <summary>Completes when the other end is closed or the descriptor is broken, whatever is left to read.</summary>
    internal ValueTask HungUpAsync(CancellationToken cancellationToken) => StartAsync(_hungUp, Libc.EPOLLHUP, cancellationToken);

    /// <summary>Called on the reactor's thread.</summary>
    internal void OnEvents(uint events, uint wait)
    {
        bool hungUp = (events & (Libc.EPOLLHUP | Libc.EPOLLERR)) != 0;
        if (hungUp && !IgnoreHangUp) events |= Libc.EPOLLIN | Libc.EPOLLOUT | Libc.EPOLLHUP;
        lock (_gate)
        {
            // An older wait than the newest: arming the newest made the kernel look again, so nothing is lost.
            if (wait != _wait || _disposed) return;
            uint fired = events & _armed;
            _armed &= ~fired;
            if (_armed != 0 && !(hungUp && IgnoreHangUp)) _ = Arm();
            if ((fired & Libc.EPOLLIN) != 0) _readable.Complete(ReadinessOutcome.Ready, 0);
            if ((fired & Libc.EPOLLOUT) != 0) _writable.Complete(ReadinessOutcome.Ready, 0);
            if ((fired & Libc.EPOLLHUP) != 0) _hungUp.Complete(ReadinessOutcome.Ready, 0);
        }
    }

    /// <summary>Takes the descriptor out of the kernel's list before it can be closed; pending waits end with <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed) return;
            _disposed = true;
            if (_added) _ = _reactor.Control(Libc.EPOLL_CTL_DEL, _descriptor, 0, _slot, 0);
        }

        _reactor.Remove(_slot, _wait);
        _descriptor.DangerousRelease();
        _readable.Complete(ReadinessOutcome.Disposed, 0);
        _writable.Complete(ReadinessOutcome.Disposed, 0);
        _hungUp.Complete(ReadinessOutcome.Disposed, 0);
    }

    private ValueTask StartAsync(ReadinessWait wait, uint events, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ValueTask task;

        // Begun and armed in one step: an event of an earlier, cancelled wait can never end this one.
        lock (_gate)
        {
            task = wait.Begin();
            _armed |= events;
            int errno = _disposed ? 0 : Arm();
            if (_disposed) wait.Complete(ReadinessOutcome.Disposed, 0);
            else if (errno != 0) wait.Complete(ReadinessOutcome.Failed, errno);
        }

        wait.WatchFor(cancellationToken);
        return task;
    }

    private int Arm()
    {
        int operation = _added ? Libc.EPOLL_CTL_MOD : Libc.EPOLL_CTL_ADD;
        int errno = _reactor.Control(operation, _descriptor, _armed | Libc.EPOLLONESHOT, _slot, ++_wait);
        if (errno == 0) _added = true;
        else _armed = 0;
        return errno;
    }
}
