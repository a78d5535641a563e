using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Threads that wait for pages in the kernel, so that no worker does. As many as there are waits at the same time, up to a limit; they end with the session. A page that does not come in time is reported once.
/// </summary>
internal sealed class PageThreads(int most, TimeSpan limit, TimeProvider clock, Action overdue)
{
    private readonly object _gate = new();
    private readonly Queue<Wanted> _wanted = new();
    private readonly List<Task> _threads = [];
    private int _idle;
    private bool _ended;

    /// <returns>0, <see cref="IMemoryArrivals.Over"/> or another error number.</returns>
    public Task<int> BringInAsync(in AbsentRange range)
    {
        Wanted wanted = new(range, limit, clock, overdue);
        lock (_gate)
        {
            if (_ended)
                return Task.FromResult(IMemoryArrivals.Over);
            _wanted.Enqueue(wanted);
            if (_idle >= _wanted.Count)
                Monitor.Pulse(_gate);
            else if (_threads.Count < most)
                _threads.Add(Start());
        }

        return wanted.Done;
    }

    /// <summary>Ends the threads, once nothing holds them any more: all memory must have been let go of.</summary>
    public Task EndAsync()
    {
        lock (_gate)
        {
            _ended = true;
            Monitor.PulseAll(_gate);
            return Task.WhenAll(_threads);
        }
    }

    private Task Start()
    {
        TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Thread thread = new(() => Run(ended), maxStackSize: 256 * 1024) { IsBackground = true, Name = "vhost-user pages" };
        thread.Start();
        return ended.Task;
    }

    private void Run(TaskCompletionSource ended)
    {
        while (Next() is { } wanted)
            wanted.BringIn();
        ended.SetResult();
    }

    private Wanted? Next()
    {
        lock (_gate)
        {
            Wanted? wanted;
            while (!_wanted.TryDequeue(out wanted) && !_ended)
            {
                _idle++;
                Monitor.Wait(_gate);
                _idle--;
            }

            return wanted;
        }
    }

    /// <summary>One range that is wanted, and the time within which the next part of it must come.</summary>
    private sealed class Wanted(AbsentRange range, TimeSpan limit, TimeProvider clock, Action overdue)
    {
        private readonly TaskCompletionSource<int> _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<int> Done => _done.Task;

        public void BringIn()
        {
            int errno;
            using (ITimer timer = clock.CreateTimer(_ => overdue(), state: null, limit, Timeout.InfiniteTimeSpan))
                errno = range.Memory.BringIn(range.Offset, range.Length, () => timer.Change(limit, Timeout.InfiniteTimeSpan));
            _done.SetResult(errno);
        }
    }
}
