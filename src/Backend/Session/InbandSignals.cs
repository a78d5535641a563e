using System.Diagnostics.CodeAnalysis;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Interrupts and errors of one ring as messages, for as long as its session lives. Whoever completes requests signals <see cref="Notifier"/>, which never waits; a task of its own sends. One message is under way at most:
/// until the front-end has acknowledged it, further signals become one. An error that cannot be sent, since there is no channel, is kept.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "A cancellation source without a timer holds nothing.")]
internal sealed class InbandSignals : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Func<VhostUserBackendRequest, Task<bool>> _trySend;
    private long _errors;
    private long _errorsTold;

    /// <summary>Begins to wait for signals.</summary>
    /// <param name="trySend">Sends one message, and ends when it is acknowledged; false: it was not sent. Does not throw for what the front-end does.</param>
    internal InbandSignals(Func<VhostUserBackendRequest, Task<bool>> trySend)
    {
        _trySend = trySend;
        _ = Task.Run(RunAsync, CancellationToken.None);
    }

    /// <summary>In place of a descriptor of the front-end for interrupts.</summary>
    internal EventNotifier Notifier { get; } = new();

    /// <summary>The ring broke. Any thread.</summary>
    internal void TellError()
    {
        Interlocked.Increment(ref _errors);
        try
        {
            Notifier.Signal();
        }
        catch (ObjectDisposedException)
        {
            // The session has ended, and did not wait for the worker any longer.
        }
    }

    /// <summary>The ring starts: what was wrong with it before is over.</summary>
    internal void ForgetErrors() => Volatile.Write(ref _errorsTold, Volatile.Read(ref _errors));

    /// <summary>Ends sending.</summary>
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
                if (!Notifier.TryConsume())
                    continue;
                await _trySend(VhostUserBackendRequest.VringCall).ConfigureAwait(false); // a ring that starts again calls once
                await SendErrorAsync().ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
        {
            // The session has ended.
        }
    }

    private async ValueTask SendErrorAsync()
    {
        long told = Volatile.Read(ref _errorsTold);
        long errors = Volatile.Read(ref _errors);
        if (errors != told && await _trySend(VhostUserBackendRequest.VringErr).ConfigureAwait(false))
            Interlocked.CompareExchange(ref _errorsTold, errors, told);
    }
}
