using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A thread that serves queues in turn, of any number of back-ends: it blocks in one poll(2) while all of them rest, or never does while one is served and it was made to poll.
/// </summary>
/// <remarks>
/// No wake-up is lost: whoever wants something counts <see cref="_requests"/> up, which is a full fence, and then looks whether the thread sleeps; the thread says that it
/// sleeps, fences, and then looks whether the count is still the one from before its last turn. A thread that is awake costs nobody a system call.
/// </remarks>
[SuppressMessage("Design", "CA1001", Justification = "The thread owns the event and disposes it when it ends.")]
internal sealed class QueueThread
{
    private readonly Lock _gate = new();
    private readonly ConcurrentQueue<ThreadQueueWorker> _arrivals = new();
    private readonly List<ThreadQueueWorker> _workers = [];
    private readonly NotifierSet _awaited = new();
    private readonly EventNotifier _wake = new();
    private readonly bool _polls;
    private readonly int? _processor;
    private readonly Action<LinuxException> _notBound;
    private int _queues;
    private int _requests;
    private volatile bool _asleep;
    private volatile bool _ends;
    private bool _ended;

    /// <summary>Prepares a thread.</summary>
    /// <param name="polls">Look at the rings without pause, and have the drivers not kick.</param>
    /// <param name="processor">Processor to run on; null: any.</param>
    /// <param name="notBound">Called on the thread when it cannot run there.</param>
    internal QueueThread(bool polls, int? processor, Action<LinuxException> notBound) => (_polls, _processor, _notBound) = (polls, processor, notBound);

    /// <summary>Queues that are served here, or on their way.</summary>
    internal int Queues => Volatile.Read(ref _queues);

    internal void Start(string name) => new Thread(Run) { IsBackground = true, Name = name }.Start();

    /// <summary>Serves a queue until it has stopped.</summary>
    /// <exception cref="ObjectDisposedException">The thread was told to end, and has.</exception>
    internal void Add(ThreadQueueWorker worker)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_ended, typeof(QueueThreads));
            Interlocked.Increment(ref _queues);
            _arrivals.Enqueue(worker);
        }

        WakeUp();
    }

    /// <summary>The thread ends when it has no queue any more.</summary>
    internal void EndWhenEmpty()
    {
        _ends = true;
        WakeUp();
    }

    /// <summary>Makes the thread run commands and look at its rings soon. Any thread; never blocks.</summary>
    internal void WakeUp()
    {
        Interlocked.Increment(ref _requests);
        if (!_asleep)
            return;
        try
        {
            _wake.Signal();
        }
        catch (ObjectDisposedException)
        {
            // The thread ended between the two lines.
        }
    }

    private void Run()
    {
        try
        {
            if (_processor is { } processor && Libc.BindThreadToProcessors(processor) is var errno and not 0)
                _notBound(new LinuxException("sched_setaffinity", errno));
            while (!TryLoop())
            {
                // What was served is lost, and said so; queues that start later are served all the same.
            }
        }
        finally
        {
            _asleep = false;
            _wake.Dispose();
        }
    }

    /// <summary>False: something failed that is none of one queue's affairs, as poll(2) without memory. Out of here it would end the process.</summary>
    private bool TryLoop()
    {
        try
        {
            Loop();
            return true;
        }
        catch (Exception e)
        {
            foreach (ThreadQueueWorker worker in _workers)
                worker.GiveUp(e);
            Interlocked.Add(ref _queues, -_workers.Count);
            _workers.Clear();
            return false;
        }
    }

    private void Loop()
    {
        while (true)
        {
            int seen = Volatile.Read(ref _requests);
            while (_arrivals.TryDequeue(out ThreadQueueWorker? arrived))
                _workers.Add(arrived);
            bool found = TakeTurns();
            if (_ends && HasEnded())
                return;
            if (_polls && _workers.Exists(static worker => worker.IsServed))
                Spin(seen);
            else if ((!found || _workers.Count == 1) && AllRest())
                SleepUnlessAsked(seen);
        }
    }

    private bool HasEnded()
    {
        lock (_gate)
            return _ended = _workers.Count == 0 && _arrivals.IsEmpty;
    }

    /// <returns>Whether there was work. Then the others get their turn before anybody is asked for kicks again.</returns>
    private bool TakeTurns()
    {
        bool found = false;
        for (int i = _workers.Count - 1; i >= 0; i--)
        {
            ThreadQueueWorker worker = _workers[i];
            found |= worker.TakeTurn();
            if (!worker.HasEnded)
                continue;
            _workers.RemoveAt(i);
            Interlocked.Decrement(ref _queues);
        }

        return found;
    }

    /// <summary>Nothing but looking at rings, until somebody wants something or a queue is served no more.</summary>
    private void Spin(int seen)
    {
        ReadOnlySpan<ThreadQueueWorker> workers = CollectionsMarshal.AsSpan(_workers);
        bool served = true;
        while (served && Volatile.Read(ref _requests) == seen)
        {
            bool found = false;
            foreach (ThreadQueueWorker worker in workers)
            {
                found |= worker.Look();
                served &= worker.IsServed;
            }

            if (!found)
                Thread.SpinWait(1);
        }
    }

    private bool AllRest()
    {
        bool rest = true;
        foreach (ThreadQueueWorker worker in _workers)
            rest &= worker.Rest();
        return rest;
    }

    private void SleepUnlessAsked(int seen)
    {
        _asleep = true;
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _requests) == seen)
            Sleep();
        _asleep = false;
    }

    private void Sleep()
    {
        _awaited.Clear();
        int wake = _awaited.Add(_wake);
        bool looksAgain = false;
        foreach (ThreadQueueWorker worker in _workers)
            looksAgain |= worker.AddTo(_awaited);
        try
        {
            _awaited.Wait(looksAgain ? QueueWorker.PollInterval : Timeout.InfiniteTimeSpan);
        }
        catch (LinuxException)
        {
            // The kernel is short of memory for the moment: none of the queues is to blame, and the clock serves for a wake-up.
            Thread.Sleep(QueueWorker.PollInterval);
        }

        if (_awaited.IsReady(wake))
            _wake.TryConsume();
        foreach (ThreadQueueWorker worker in _workers)
            worker.Consume(_awaited);
    }
}
