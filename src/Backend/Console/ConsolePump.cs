using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Logging;

namespace Vhost.Backend;

/// <summary>What serves one queue, from each start to the stop that follows. It runs on the thread pool and holds no thread while it waits.</summary>
[SuppressMessage("Design", "CA1001", Justification = "A source without a timer of which nobody takes the wait handle holds nothing.")]
internal sealed class ConsolePump(Func<ApplicationQueue, CancellationToken, Task> serve, ILogger logger)
{
    private Task _running = Task.CompletedTask;
    private CancellationTokenSource _stop = new();
    private ApplicationQueue? _queue;

    /// <summary>A queue was started. The one before it is stopped, but whoever served that may still be on his way out.</summary>
    internal void Start(ApplicationQueue queue)
    {
        _stop = new CancellationTokenSource();
        _queue = queue;
        _running = RunAsync(_running, queue, _stop.Token);
    }

    /// <summary>A queue was stopped.</summary>
    /// <returns>False: it is not the one that is served. A device that was held up inside one leaves it when the next may have been started.</returns>
    internal bool Stop(ApplicationQueue queue)
    {
        if (!ReferenceEquals(queue, _queue))
            return false;
        _ = _stop.CancelAsync();
        return true;
    }

    private async Task RunAsync(Task before, ApplicationQueue queue, CancellationToken stop)
    {
        await before.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        try
        {
            await serve(queue, stop).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // Stopped while waiting.
        }
        catch (Exception e)
        {
            BackendLog.WorkerFailed(logger, queue.Ring.Owner, queue.Index, queue.Ring.Format, e);
        }
    }
}
