using System.Diagnostics.CodeAnalysis;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Awaits what a device has going on and consumes the news of it, again and again: the kernel signals this one, so it needs no protection from a driver.</summary>
[SuppressMessage("Design", "CA1001", Justification = "A cancellation source without a timer holds nothing; Stop may come after the end.")]
internal sealed class CompletionPump
{
    private readonly CancellationTokenSource _stop = new();

    /// <summary>Starts to wait.</summary>
    /// <param name="source">Stays the caller's, who may dispose it: that ends the pump.</param>
    /// <param name="completed">Called after each completion. Never on the thread that starts the pump.</param>
    /// <param name="failed">The descriptor failed, and nothing waits any more.</param>
    internal CompletionPump(EventNotifier source, Action completed, Action<Exception> failed) =>
        Completion = Task.Run(() => RunAsync(source, completed, failed), CancellationToken.None);

    /// <summary>Nothing waits any more.</summary>
    internal Task Completion { get; }

    internal void Stop() => _stop.Cancel();

    private async Task RunAsync(EventNotifier source, Action completed, Action<Exception> failed)
    {
        try
        {
            while (!_stop.IsCancellationRequested)
            {
                await source.WaitAsync(_stop.Token).ConfigureAwait(false);
                source.TryConsume();
                completed();
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
        {
            // The ring has stopped.
        }
        catch (Exception e)
        {
            failed(e);
        }
    }
}
