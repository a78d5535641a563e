using System.Diagnostics.CodeAnalysis;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Interrupts of one ring as messages. Whoever completes requests signals <see cref="Notifier"/>, which never waits; a task of its own sends. While a message is under way, or the front-end has not
/// acknowledged it, further signals become one.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "A cancellation source without a timer holds nothing.")]
internal sealed class InbandCalls : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Func<Task> _send;

    /// <summary>Begins to wait for signals.</summary>
    /// <param name="send">Sends one message, and ends when it is acknowledged; does not throw for what the front-end does.</param>
    internal InbandCalls(Func<Task> send)
    {
        _send = send;
        _ = Task.Run(RunAsync, CancellationToken.None);
    }

    /// <summary>In place of a descriptor of the front-end.</summary>
    internal EventNotifier Notifier { get; } = new();

    /// <summary>What was not sent yet is dropped: the ring has stopped.</summary>
    public void Dispose()
    {
        _stop.Cancel();
        Notifier.Dispose();
    }

    private async Task RunAsync()
    {
        try
        {
            while (true)
            {
                await Notifier.WaitAsync(_stop.Token).ConfigureAwait(false);
                if (Notifier.TryConsume())
                    await _send().ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
        {
            // The ring has stopped.
        }
    }
}
