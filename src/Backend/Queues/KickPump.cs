using System.Diagnostics.CodeAnalysis;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Awaits a kick descriptor and consumes it, again and again. A missing or broken descriptor is replaced by a slow clock, and kicks that lead to nothing
/// are taken at its pace.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "A cancellation source without a timer holds nothing; Stop may come after the end.")]
internal sealed class KickPump
{
    private const int LooksAtFullPace = 500, LooksAtEachPace = 50;

    private readonly CancellationTokenSource _stop = new();
    private readonly DeviceVirtqueue _queue;
    private readonly EventNotifier? _source;
    private readonly Action _kicked;
    private readonly TimeProvider _time;
    private readonly Action<Exception> _failed;
    private KickWorth _worth;

    /// <summary>Looks at a ring without a kick in a row that found nothing.</summary>
    private int _idleLooks;
    private uint _batches;

    /// <summary>Starts to wait.</summary>
    /// <param name="queue">The queue that is kicked; only looked at.</param>
    /// <param name="source">The kick descriptor; stays the caller's, who keeps it until <see cref="Completion"/>.</param>
    /// <param name="kicked">Called after each kick. Never on the thread that starts the pump.</param>
    /// <param name="time">For the slow clock.</param>
    /// <param name="failed">The descriptor failed, and nothing waits any more.</param>
    internal KickPump(DeviceVirtqueue queue, EventNotifier? source, Action kicked, TimeProvider time, Action<Exception> failed)
    {
        _queue = queue;
        _source = source;
        _kicked = kicked;
        _time = time;
        _failed = failed;
        // Not inline: a kick that is pending already would serve the queue on the session's thread.
        Completion = Task.Run(RunAsync, CancellationToken.None);
    }

    /// <summary>Nothing waits on the descriptor any more.</summary>
    internal Task Completion { get; }

    internal void Stop() => _stop.Cancel();

    /// <summary>
    /// How long a ring is left alone that nobody kicks: 1 ms while there is work now and then, up to 32 ms when there has been none for long. A front-end may have hundreds of such rings. A broken one is
    /// not looked at any more.
    /// </summary>
    private TimeSpan NextLook()
    {
        if (_queue.Fault != VirtqueueFault.None)
            return Timeout.InfiniteTimeSpan;
        _idleLooks = _queue.Batches == _batches ? Math.Min(_idleLooks + 1, LooksAtFullPace + (5 * LooksAtEachPace)) : 0;
        _batches = _queue.Batches;
        return QueueWorker.PollInterval * (1 << (Math.Max(_idleLooks - LooksAtFullPace, 0) / LooksAtEachPace));
    }

    private async Task RunAsync()
    {
        try
        {
            while (!_stop.IsCancellationRequested)
            {
                if (_source is null || _worth.IsLow)
                    await Task.Delay(NextLook(), _time, _stop.Token).ConfigureAwait(false);
                if (_source is not null && !_worth.IsBroken)
                {
                    // Awaited here and not in a method of its own, which would allocate for each kick.
                    ValueTask kick = _source.WaitAsync(_stop.Token);

                    // Behind everybody else in the thread pool's line: a driver that kicks without end, with work each time, must not keep a thread to itself.
                    if (kick.IsCompleted)
                        await Task.Yield();
                    await kick.ConfigureAwait(false);
                    bool consumed = _source.TryConsume();
                    if (consumed)
                        _queue.Kicked();
                    _worth.Count(consumed, _queue.Batches);
                }

                _kicked();
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
        {
            // The kick was replaced or the ring stopped.
        }
        catch (Exception e)
        {
            _failed(e);
        }
    }
}
