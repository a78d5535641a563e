using System.Globalization;
using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>How a queue ends: by a fault, a lost peer, an overdue request, or the client's disposal.</summary>
public sealed partial class BlockQueue
{
    private const ulong Free = ulong.MaxValue;

    /// <summary>For ever: whoever wants in learns it.</summary>
    private const int Closed = 1;

    /// <summary>While the ring is made anew: whoever wants in waits.</summary>
    private const int Rebuilt = 2;

    private static readonly TimeSpan LongestCall = TimeSpan.FromSeconds(1);

    private readonly OverdueWatch _overdue;
    private Exception? _failure;
    private bool _inside;

    /// <summary>Why nobody gets in: bits of <see cref="Closed"/> and <see cref="Rebuilt"/>.</summary>
    private int _barriers;

    /// <summary>Called, once at least, when the queue finds out by itself that it cannot go on.</summary>
    internal Action<Exception>? Broken { get; set; }

    /// <summary>Asked before each look for overdue requests: how the session is given up, where somebody goes on with the next back-end and nothing fails; null where nobody does.</summary>
    internal Func<SessionVerdict?>? VerdictOnSession { get; set; }

    internal bool IsIdle => InFlight == 0;

    /// <summary>From now on every call throws <paramref name="reason"/>; the first reason stays.</summary>
    internal void Fail(Exception reason) => Interlocked.CompareExchange(ref _failure, reason, null);

    /// <summary>
    /// Gives the ring's memory back, after the thread that is inside (if there is one) has left. A thread that does not leave, stopped by a debugger
    /// perhaps, keeps the memory.
    /// </summary>
    internal void Close()
    {
        Fail(new ObjectDisposedException(nameof(BlockClient)));
        if (TryBar(Closed) && SpinWait.SpinUntil(() => !Volatile.Read(ref _rebuilds), LongestCall))
            _ring.Dispose();
    }

    /// <summary>Nobody comes in any more, and whoever was inside has left. False when a thread does not leave in time.</summary>
    private bool TryBar(int reason)
    {
        Interlocked.Or(ref _barriers, reason);

        // The partner of the plain store in Enter: after this the other thread has either been seen inside, or will see that the queue is barred.
        Interlocked.MemoryBarrierProcessWide();
        return SpinWait.SpinUntil(() => !Volatile.Read(ref _inside), LongestCall);
    }

    /// <summary>Where the ring is to go on, for a back-end that has no better source.</summary>
    internal VringBase Base => _ring.RestartBase;

    /// <summary>While suspended no request is overdue.</summary>
    internal void Suspend(bool suspended) => _overdue.IsSuspended = suspended;

    internal void DisarmCall()
    {
        _isDisarmed = true;
        _ring.DisarmCall();
    }

    internal bool ArmCall() => _ring.ArmCall();

    /// <summary>A quarter of the request time-out has passed; throws when a request is overdue.</summary>
    internal void LookForOverdue()
    {
        SessionVerdict? verdict = VerdictOnSession?.Invoke();
        int slot = _overdue.Advance(_expected, Free);
        if (slot < 0)
            return;
        VhostUserTimeoutException late = new(string.Create(
            CultureInfo.InvariantCulture, $"Queue {Index}: a request has been in the device for more than {_overdue.Limit.TotalSeconds:0.###} s; the back-end is given up."));
        if (verdict is not null)
        {
            verdict.GiveUp(late);
            return;
        }

        Fail(late);
        Broken?.Invoke(late);
        throw late;
    }

    internal void ThrowIfFailed()
    {
        if (_ring.Fault != VirtqueueFault.None && Volatile.Read(ref _failure) is null)
        {
            VirtqueueException broken = new(Index, _ring.Fault, _ring.FaultDetail ?? "no detail");
            Fail(broken);
            Broken?.Invoke(broken);
        }

        if (Volatile.Read(ref _failure) is { } failure)
            throw failure;
    }

    /// <summary>Two plain stores a call instead of a fence: the expensive half is in <see cref="Close"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Enter()
    {
        Volatile.Write(ref _inside, true);
        if (Volatile.Read(ref _barriers) != 0)
            EnterBarred();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Leave() => Volatile.Write(ref _inside, false);

    private void EnterBarred()
    {
        do
        {
            Leave();
            if ((Volatile.Read(ref _barriers) & Closed) != 0)
                throw Volatile.Read(ref _failure) ?? new ObjectDisposedException(nameof(BlockClient));
            SpinWait.SpinUntil(() => Volatile.Read(ref _barriers) != Rebuilt);
            Volatile.Write(ref _inside, true);
        }
        while (Volatile.Read(ref _barriers) != 0);
    }
}
