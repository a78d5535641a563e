using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

public sealed partial class EventNotifier
{
    /// <summary>The most notifiers one <see cref="WaitAny"/> takes.</summary>
    public const int MaxWaitAny = 64;

    /// <summary>Waits without a thread until there is something to consume; consumes nothing.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>A task to be awaited once, before the next wait starts.</returns>
    /// <exception cref="OperationCanceledException">The token was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The notifier was disposed, before or meanwhile.</exception>
    /// <exception cref="InvalidOperationException">Another wait is going on.</exception>
    public ValueTask WaitAsync(CancellationToken cancellationToken = default) =>
        IsReadable() ? ValueTask.CompletedTask : (_registration ?? Register()).ReadableAsync(cancellationToken);

    /// <summary>Blocks this thread until there is something to consume; consumes nothing.</summary>
    /// <param name="timeout">How long at most; <see cref="Timeout.InfiniteTimeSpan"/> for ever, zero only to look.</param>
    /// <returns>False when the time passed.</returns>
    /// <exception cref="ObjectDisposedException">The notifier was disposed.</exception>
    public bool Wait(TimeSpan timeout) => WaitAny([this], timeout) == 0;

    /// <summary>Blocks this thread until one of several notifiers has something to consume; consumes nothing.</summary>
    /// <param name="notifiers">1 to <see cref="MaxWaitAny"/> notifiers.</param>
    /// <param name="timeout">How long at most; <see cref="Timeout.InfiniteTimeSpan"/> for ever, zero only to look.</param>
    /// <returns>Index of the first that has something, or -1 when the time passed.</returns>
    /// <exception cref="ArgumentOutOfRangeException">No notifier, or more than <see cref="MaxWaitAny"/>.</exception>
    /// <exception cref="ObjectDisposedException">One of the notifiers was disposed.</exception>
    [SkipLocalsInit]
    public static int WaitAny(ReadOnlySpan<EventNotifier> notifiers, TimeSpan timeout)
    {
        ArgumentOutOfRangeException.ThrowIfZero(notifiers.Length, nameof(notifiers));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(notifiers.Length, MaxWaitAny, nameof(notifiers));
        Span<Libc.PollDescriptor> elements = stackalloc Libc.PollDescriptor[notifiers.Length];
        int held = 0;
        try
        {
            for (; held < notifiers.Length; held++) elements[held] = new() { Descriptor = notifiers[held].Hold(), Events = Libc.POLLIN };
            return PollUntil(elements, timeout);
        }
        finally
        {
            while (held > 0) notifiers[--held].LetGo();
        }
    }

    /// <summary>Keeps the descriptor open until <see cref="LetGo"/>, whoever disposes this meanwhile.</summary>
    internal int Hold()
    {
        bool added = false;
        _descriptor.DangerousAddRef(ref added);
        return (int)_descriptor.DangerousGetHandle();
    }

    internal void LetGo() => _descriptor.DangerousRelease();

    /// <returns>The first element that is readable, or -1 when the time passed.</returns>
    internal static int PollUntil(Span<Libc.PollDescriptor> elements, TimeSpan timeout)
    {
        long started = Stopwatch.GetTimestamp();
        while (true)
        {
            int result = Libc.Poll(elements, Remaining(started, timeout));
            if (result < 0 && result != -Libc.EINTR) throw new LinuxException("poll", -result);
            for (int i = 0; result > 0 && i < elements.Length; i++)
            {
                if ((elements[i].Returned & Libc.POLLIN) != 0) return i;

                // Hung up for ever and never readable again: leave it out, or poll would return at once from now on.
                if (elements[i].Returned != 0) elements[i].Descriptor = -1;
            }

            if (result <= 0 && Remaining(started, timeout) == 0) return -1;
        }
    }

    private static int Remaining(long started, TimeSpan timeout)
    {
        if (timeout == Timeout.InfiniteTimeSpan) return Timeout.Infinite;
        double left = Math.Ceiling((timeout - Stopwatch.GetElapsedTime(started)).TotalMilliseconds);
        return (int)Math.Clamp(left, 0, int.MaxValue);
    }

    private ReactorRegistration Register()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _registration ??= Reactor.Shared.Register(_descriptor, ignoreHangUp: true);
        }
    }
}
