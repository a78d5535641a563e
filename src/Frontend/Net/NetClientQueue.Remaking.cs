using System.Runtime.CompilerServices;

namespace Vhost.Frontend;

/// <summary>A ring that is made anew for the next back-end, beside threads that use the queue.</summary>
public abstract partial class NetClientQueue
{
    /// <summary>For ever.</summary>
    private const int Closed = 1;

    /// <summary>The ring is being made anew, which is a matter of microseconds once nobody is inside.</summary>
    private const int Remade = 2;

    /// <summary>There is no back-end at present, and nothing is to be put on the ring for it.</summary>
    private const int Deserted = 4;

    private static readonly TimeSpan _pause = TimeSpan.FromMilliseconds(1);

    /// <summary>The ring is being made anew.</summary>
    private bool _remakes;

    /// <summary>From now on there is no room, until <see cref="Reopen"/>. Any thread.</summary>
    internal void Desert() => Bar(Deserted);

    /// <summary>There is a back-end: whoever waits looks for himself, as a call that the lost one owed will never come. Any thread.</summary>
    internal void Reopen()
    {
        Interlocked.And(ref _barriers, ~Deserted);
        Wake();
    }

    /// <summary>
    /// Makes the ring anew, once whoever is inside has left. The lost back-end must not touch it any more, and the next one not yet. Any thread, one at a time; whoever comes in meanwhile finds
    /// nothing and no room.
    /// </summary>
    /// <param name="stop">Gives up: a thread that is inside does not leave.</param>
    /// <returns>How many packets are lost.</returns>
    internal async ValueTask<int> RemakeAsync(CancellationToken stop)
    {
        // As an occupant: closing has either seen this, or is seen here.
        Volatile.Write(ref _remakes, true);
        Bar(Remade);
        try
        {
            while (!IsUntouched)
                await Task.Delay(_pause, stop).ConfigureAwait(false);
            return IsClosed ? 0 : Remake();
        }
        finally
        {
            Interlocked.And(ref _barriers, ~Remade);
            Volatile.Write(ref _remakes, false);
            ReleaseIfAbandoned();
        }
    }

    /// <summary>Leaves an empty ring without calls, and everything that was on it free or on it again. Nobody else is inside; a burst may have been begun.</summary>
    /// <returns>How many packets are lost.</returns>
    private protected abstract int Remake();

    /// <summary>From now on nobody gets in for a reason, but those who are inside already.</summary>
    private void Bar(int reason)
    {
        Interlocked.Or(ref _barriers, reason);

        // The partner of the plain stores in Enter, EndWait, Return and Occupy: after this another thread has either been seen inside, or will see that it is barred.
        Interlocked.MemoryBarrierProcessWide();
    }

    /// <summary>A thread that may not come in leaves: with the reason when there will never be anything in here again.</summary>
    /// <returns>False.</returns>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool GoAway()
    {
        Leave();
        ReleaseIfAbandoned();
        if (Volatile.Read(ref _failure) is { } failure)
            throw failure;
        return false;
    }
}
