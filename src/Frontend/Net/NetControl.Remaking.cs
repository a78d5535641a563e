using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Commands when a back-end is lost: they wait for the next one, which is told before what the driver had set.</summary>
public sealed partial class NetControl
{
    /// <summary>There while the next back-end is looked for and told; ends when others may command it.</summary>
    private TaskCompletionSource? _nextBackend;

    private bool IsDeserted => Volatile.Read(ref _nextBackend) is not null;

    /// <summary>The back-end is lost. A command that is under way gives up its turn.</summary>
    internal void Suspend()
    {
        Interlocked.Exchange(ref _nextBackend, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
        if (HasFailed)
            Resume(); // the client ends at the same time: either that is seen here, or this there
        Wake();
    }

    /// <summary>The next one is there, or nobody will be.</summary>
    internal void Resume() => Interlocked.Exchange(ref _nextBackend, null)?.TrySetResult();

    /// <summary>Tells the next back-end what the lost one had confirmed.</summary>
    /// <param name="mac">The address to set where the driver has set none; null: none.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="NetControlException">The next one refuses.</exception>
    /// <exception cref="VhostUserTimeoutException">It does not answer.</exception>
    internal async ValueTask RestoreAsync(MacAddress? mac, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            foreach (NetControlMessage message in _confirmed.Commands(mac))
                await RestoreAsync(message, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _turn.Release();
        }
    }

    private async ValueTask RestoreAsync(NetControlMessage message, CancellationToken cancellationToken)
    {
        using CancellationTokenSource timeout = new(_timeout, _time);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(timeout.Token, cancellationToken);
        try
        {
            TrySubmit(message, restores: true);
            await TryFinishAsync(restores: true, either.Token).ConfigureAwait(false);
            Judge(message.Command);
        }
        catch (OperationCanceledException) when (timeout.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new VhostUserTimeoutException(string.Create(
                CultureInfo.InvariantCulture, $"Queue {Index}: the next back-end did not answer {message.Command} within {_timeout.TotalSeconds} s, which it was told as the one before."));
        }
    }

    private ValueTask NextBackendAsync(CancellationToken cancellationToken) =>
        Volatile.Read(ref _nextBackend) is { } next ? new ValueTask(next.Task.WaitAsync(cancellationToken)) : ValueTask.CompletedTask;

    private protected override int Remake()
    {
        Ring.Reset();
        Ring.DisarmCall();
        return 0;
    }
}
