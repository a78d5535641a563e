using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Vhost.Protocol;

/// <summary>
/// Lets threads go that a peer holds up in <see cref="EventNotifier.Signal"/>, a moment after it has: one background thread for the process, which looks around while notifiers are signalled and rests while
/// none is.
/// </summary>
/// <remarks>
/// It works with whatever has been signalled and belongs to a peer too; a thread of its own, as those of the pool may be among the held up ones. No wake-up is lost: whoever signals counts himself in, which is a full fence,
/// and then looks whether the watch rests; the watch says that it rests, fences, and then looks whether anybody is in.
/// </remarks>
[SuppressMessage("Design", "CA1001", Justification = "There is one, as long as the process lives.")]
internal sealed class SignalWatch
{
    /// <summary>Between two looks. A thread that was inside the same write at both is held up.</summary>
    private static readonly TimeSpan _period = TimeSpan.FromMilliseconds(40);

    /// <summary>So many looks at nothing, and the watch rests: a second.</summary>
    private const int LooksAtNothing = 25;

    private readonly ConcurrentQueue<WeakReference<EventNotifier>> _arrivals = new();
    private readonly List<WeakReference<EventNotifier>> _watched = [];
    private readonly AutoResetEvent _somebodySignals = new(initialState: false);
    private volatile bool _rests = true;

    private SignalWatch() => new Thread(Run, maxStackSize: 256 * 1024) { IsBackground = true, Name = "vhost-user signals" }.Start();

    /// <summary>Made by the first who signals what a peer has too.</summary>
    internal static SignalWatch Shared { get; } = new();

    /// <summary>Looks after a notifier from now on, until it is disposed or forgotten.</summary>
    internal void Add(EventNotifier notifier) => _arrivals.Enqueue(new WeakReference<EventNotifier>(notifier));

    /// <summary>Makes sure that somebody looks. Called by a thread that has counted itself in.</summary>
    internal void LookSoon()
    {
        if (_rests) _somebodySignals.Set();
    }

    private void Run()
    {
        while (true)
        {
            Rest();
            int atNothing = 0;
            while (atNothing < LooksAtNothing)
            {
                Thread.Sleep(_period);
                atNothing = LookAround() ? 0 : atNothing + 1;
            }
        }
    }

    private void Rest()
    {
        _rests = true;
        Interlocked.MemoryBarrier();
        if (!LookAround()) _somebodySignals.WaitOne();
        _rests = false;
    }

    /// <returns>Whether anything was signalled since the last look.</returns>
    private bool LookAround()
    {
        while (_arrivals.TryDequeue(out WeakReference<EventNotifier>? arrived)) _watched.Add(arrived);
        bool any = false;
        for (int i = _watched.Count - 1; i >= 0; i--)
        {
            if (_watched[i].TryGetTarget(out EventNotifier? notifier) && !notifier.IsDisposed)
            {
                any |= notifier.LookAtSignallers();
                continue;
            }

            _watched[i] = _watched[^1];
            _watched.RemoveAt(_watched.Count - 1);
        }

        return any;
    }
}
