using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>One queue of a <see cref="NetClient"/>: what sender and receiver have in common.</summary>
/// <remarks>
/// <para>Once the queue is broken or the peer lost, and nothing is left to give, its calls throw: <see cref="VirtqueueException"/>, <see cref="VhostUserDisconnectedException"/>,
/// <see cref="VhostUserProtocolException"/> or <see cref="VhostUserTimeoutException"/>. What was outstanding is lost then.</para>
/// <para>With <see cref="NetClientOptions.Reconnect"/> a lost peer is no error: nothing comes, there is no room, and waits go on, until the next one is there.</para>
/// <para>Threading: one thread at a time. Disposing the client meanwhile is safe: the next call throws <see cref="ObjectDisposedException"/>. A second thread that is
/// met inside gets an <see cref="InvalidOperationException"/> that names the queue; that is a help in finding such a mistake and no lock: two that come in at the very same moment may miss
/// each other, and what the queue does then is not said.</para>
/// </remarks>
public abstract partial class NetClientQueue
{
    /// <summary>Packets that are handled in one go; longer bursts are several of them.</summary>
    private protected const int Chunk = 64;

    /// <summary>How long closing waits for a thread that is inside.</summary>
    internal static readonly TimeSpan LongestCall = TimeSpan.FromSeconds(1);

    private readonly EventNotifier _kick;
    private readonly EventNotifier _call;
    private Exception? _failure;
    private bool _inside;

    /// <summary>A wait that has ended is inside: not the thread that <see cref="_inside"/> is about, as a burst may have been begun meanwhile.</summary>
    private bool _endsWait;
    private bool _waits;

    /// <summary>Why nobody gets in: bits of <see cref="Closed"/>, <see cref="Remade"/> and <see cref="Deserted"/>.</summary>
    private int _barriers;

    /// <summary>Which burst occupies the queue beyond a call; 0: none.</summary>
    private int _occupant;

    /// <summary>Closing has given up waiting: the burst that is being built releases the ring.</summary>
    private bool _abandoned;
    private int _released;

    private protected NetClientQueue(int index, DriverVirtqueue ring, NetQueueShape shape, EventNotifier kick, EventNotifier call)
    {
        Index = index;
        Ring = ring;
        Shape = shape;
        _kick = kick;
        _call = call;
    }

    /// <summary>Which queue of the device this is, from 0: receivers have the even ones, senders the odd ones, the control queue comes behind all pairs that the device has.</summary>
    public int Index { get; }

    /// <summary>What passed the queue, of a sender what it has sent, of a receiver what it has received; exact when no thread is inside. Any thread.</summary>
    public NetQueueStatistics Statistics => Counters.Snapshot() with { InFlight = Held };

    /// <summary>Buffers that are out.</summary>
    private protected virtual int Held => Ring.InFlight;

    private protected DriverVirtqueue Ring { get; }

    private protected NetQueueShape Shape { get; }

    private protected NetQueueCounters Counters { get; } = new();

    /// <summary>From now on every call throws <paramref name="reason"/>; the first reason stays.</summary>
    internal void Fail(Exception reason)
    {
        if (Interlocked.CompareExchange(ref _failure, reason, null) is null)
            Wake(); // a thread that waits finds out
    }

    private protected bool HasFailed => Volatile.Read(ref _failure) is not null;

    /// <summary>Called by a thread that is about to wait.</summary>
    internal Action? Waits { get; set; }

    /// <summary>Lets a thread that waits look for itself, whether the device calls or not. Any thread.</summary>
    internal void LookWithoutCall()
    {
        if (Volatile.Read(ref _waits))
            _call.Signal();
    }

    /// <summary>Ends a wait, this one or the next. Any thread, also when the client is gone.</summary>
    private protected void Wake()
    {
        try
        {
            _call.Signal();
        }
        catch (ObjectDisposedException)
        {
            // Nobody waits any more.
        }
    }

    /// <summary>From now on nobody gets in.</summary>
    internal void BeginClose()
    {
        Fail(new ObjectDisposedException(nameof(NetClient)));
        Bar(Closed);
    }

    /// <summary>
    /// Gives the ring's memory back, after the thread that is inside (if there is one) has left, and the burst that is being built has ended. A thread that
    /// does not leave, stopped by a debugger perhaps, keeps the memory; a burst that goes on keeps it until it ends.
    /// </summary>
    /// <param name="longest">How long to wait for them.</param>
    internal void EndClose(TimeSpan longest)
    {
        // Once it is free nobody can touch the ring any more: who still comes in sees that the queue is closed, and goes.
        bool free = SpinWait.SpinUntil(() => IsFree, longest);
        if (!free)
        {
            Volatile.Write(ref _abandoned, true);
            Interlocked.MemoryBarrierProcessWide(); // the partner of the stores in Vacate and ThrowClosed
        }

        if (free || IsFree)
            ReleaseRing();
    }

    /// <summary>Both, for one queue.</summary>
    internal void Close()
    {
        BeginClose();
        EndClose(LongestCall);
    }

    /// <summary>The order counts: an occupant comes before its thread leaves.</summary>
    private bool IsFree => IsUntouched && !Volatile.Read(ref _remakes) && Volatile.Read(ref _occupant) == 0;

    /// <summary>Nobody is inside at this moment; a burst may have been begun.</summary>
    private bool IsUntouched => !Volatile.Read(ref _inside) && !Volatile.Read(ref _endsWait);

    /// <summary>Whether the queue is being closed, or was.</summary>
    internal bool IsClosed => (Volatile.Read(ref _barriers) & Closed) != 0;

    /// <summary>
    /// Two plain stores a call instead of a fence: the expensive half is in <see cref="Bar"/>. So is the look for another thread: of two that come in within
    /// nanoseconds neither may see the other, of two that use the queue all the time one does soon. False when there is nothing to do inside at present; nothing is to be left then.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected bool Enter()
    {
        if (_inside || _occupant != 0)
            ThrowInUse();
        Volatile.Write(ref _inside, true);
        return Volatile.Read(ref _barriers) == 0 || GoAway();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private protected void Leave() => Volatile.Write(ref _inside, false);

    /// <summary>Keeps the queue, and its memory, for a burst after the call that begins it has left. Inside.</summary>
    /// <param name="turn">Tells the burst from others; not 0.</param>
    private protected void Occupy(int turn)
    {
        // As in Enter: BeginClose has either seen the occupant, or is seen here.
        Volatile.Write(ref _occupant, turn);
        if (!IsClosed)
            return;
        _occupant = 0;
        GoAway();
    }

    private protected bool IsOccupiedBy(int turn) => _occupant == turn;

    private protected bool IsOccupied => _occupant != 0;

    /// <summary>
    /// Lets the occupant in to end what <see cref="Occupy"/> began, which it may whatever happens to the queue, but not while its ring is made anew; <see cref="Vacate"/> is the way out.
    /// </summary>
    /// <returns>Whether there is somebody to show packets to.</returns>
    private protected bool Return()
    {
        while (true)
        {
            Volatile.Write(ref _inside, true);
            int barriers = Volatile.Read(ref _barriers);
            if ((barriers & Remade) == 0)
                return barriers == 0;
            Leave();
            SpinWait.SpinUntil(() => (Volatile.Read(ref _barriers) & Remade) == 0);
        }
    }

    /// <summary>Ends what <see cref="Occupy"/> began, and leaves. When <see cref="EndClose"/> has given up waiting for it, the ring's memory goes now.</summary>
    private protected void Vacate()
    {
        Volatile.Write(ref _occupant, 0);
        Leave();
        ReleaseIfAbandoned();
    }

    /// <summary>The last one out releases the ring. After the store that says that this one is out.</summary>
    private void ReleaseIfAbandoned()
    {
        if (!Volatile.Read(ref _abandoned))
            return;
        Interlocked.MemoryBarrier(); // of two that go at the same time at least one sees both gone
        if (IsFree)
            ReleaseRing();
    }

    /// <summary>Kicks the device if it asked for that, after it was shown something. Inside.</summary>
    /// <param name="shown">What <see cref="DriverVirtqueue.Show"/> said.</param>
    private protected void Notify(bool shown)
    {
        if (!shown)
            return;
        if (Ring.IsKickWanted())
        {
            Kick();
            Counters.Notifications++;
        }
        else
        {
            Counters.SuppressedNotifications++;
        }
    }

    /// <summary>Waits for the device's call, which it is asked for only meanwhile.</summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <param name="whateverIsThere">Wait although the device has done with something: it is no use at present.</param>
    private protected async ValueTask WaitForCallAsync(CancellationToken cancellationToken, bool whateverIsThere = false)
    {
        bool wait = true;
        if (Enter())
        {
            try
            {
                wait = Ring.ArmCall() || whateverIsThere;
            }
            finally
            {
                Leave();
            }
        }

        try
        {
            if (wait && Ring.Fault == VirtqueueFault.None && Volatile.Read(ref _failure) is null)
            {
                Volatile.Write(ref _waits, true);
                Waits?.Invoke();
                await _call.WaitAsync(cancellationToken).ConfigureAwait(false);
                _call.TryConsume();
            }
        }
        finally
        {
            Volatile.Write(ref _waits, false);
            EndWait();
        }

        ThrowIfFailed();
    }

    /// <summary>Asks for no more calls. Maybe on another thread than the one that uses the queue, which may have begun a burst meanwhile.</summary>
    private void EndWait()
    {
        Volatile.Write(ref _endsWait, true);
        if (Volatile.Read(ref _barriers) == 0)
            Ring.DisarmCall(); // of a ring that is made anew it is done there
        Volatile.Write(ref _endsWait, false);
        ReleaseIfAbandoned();
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Kick()
    {
        try
        {
            _kick.Signal();
        }
        catch (ObjectDisposedException) when (IsClosed)
        {
            // This thread was held up for longer than closing waits for it. There is nobody left to kick.
        }
    }

    private protected void ThrowIfFailed()
    {
        VirtqueueFault fault = Ring.Fault;
        if (fault != VirtqueueFault.None)
            Interlocked.MemoryBarrier(); // closing gives its reason before it ends the ring, which looks like a fault
        if (Volatile.Read(ref _failure) is { } failure)
            throw failure;
        if (fault != VirtqueueFault.None)
            throw new VirtqueueException(Index, fault, Ring.FaultDetail ?? "no detail");
    }

    private void ReleaseRing()
    {
        if (Interlocked.Exchange(ref _released, 1) == 0)
            Ring.Dispose();
    }

    private void ThrowInUse() => throw new InvalidOperationException(_occupant != 0
        ? FormattableString.Invariant($"Queue {Index} is in use: a burst that was begun was neither sent nor disposed.")
        : FormattableString.Invariant($"Queue {Index} is in use by another thread: it is for one at a time."));
}
