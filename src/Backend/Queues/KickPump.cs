using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Awaits a kick descriptor and consumes it, again and again. A missing or broken descriptor is replaced by a slow clock.</summary>
[SuppressMessage("Design", "CA1001", Justification = "A cancellation source without a timer holds nothing; Stop may come after the end.")]
internal sealed class KickPump
{
    private readonly CancellationTokenSource _stop = new();
    private readonly EventNotifier? _source;
    private readonly Action _kicked;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly int _queue;

    /// <summary>Starts to wait.</summary>
    /// <param name="queue">For the log.</param>
    /// <param name="source">The kick descriptor; stays the caller's, who keeps it until <see cref="Completion"/>.</param>
    /// <param name="kicked">Called after each kick. Never on the thread that starts the pump.</param>
    /// <param name="time">For the slow clock.</param>
    /// <param name="logger">For a descriptor that fails.</param>
    internal KickPump(int queue, EventNotifier? source, Action kicked, TimeProvider time, ILogger logger)
    {
        _queue = queue;
        _source = source;
        _kicked = kicked;
        _time = time;
        _logger = logger;
        // Not inline: a kick that is pending already would serve the queue on the session's thread.
        Completion = Task.Run(RunAsync, CancellationToken.None);
    }

    /// <summary>Nothing waits on the descriptor any more.</summary>
    internal Task Completion { get; }

    internal void Stop() => _stop.Cancel();

    private async Task RunAsync()
    {
        int fruitless = 0;
        try
        {
            while (!_stop.IsCancellationRequested)
            {
                if (_source is null || fruitless >= QueueWorker.FruitlessLimit)
                {
                    await Task.Delay(QueueWorker.PollInterval, _time, _stop.Token).ConfigureAwait(false);
                }
                else
                {
                    await _source.WaitAsync(_stop.Token).ConfigureAwait(false);
                    fruitless = _source.TryConsume() ? 0 : fruitless + 1;
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
            BackendLog.KickFailed(_logger, _queue, e);
        }
    }
}
