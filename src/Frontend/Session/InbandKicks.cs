using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Sends VRING_KICK for a ring each time that its driver signals the notifier for kicks. While one is not acknowledged, further signals become one.</summary>
internal sealed class InbandKicks : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly EventNotifier _kick;
    private readonly uint _index;
    private readonly VhostUserRequestClient _requests;
    private readonly Action _failed;
    private readonly ILogger _log;
    private readonly Task _loop;
    private long _refusals;

    /// <summary>Begins to wait; <paramref name="kick"/> is borrowed until <see cref="DisposeAsync"/> has ended.</summary>
    /// <param name="kick">What the driver signals.</param>
    /// <param name="index">The ring.</param>
    /// <param name="requests">Where messages go.</param>
    /// <param name="failed">Tells the driver that a kick has not come to the back-end.</param>
    /// <param name="log">Where it is said too.</param>
    public InbandKicks(EventNotifier kick, uint index, VhostUserRequestClient requests, Action failed, ILogger log)
    {
        (_kick, _index, _requests, _failed, _log) = (kick, index, requests, failed, log);
        _loop = Task.Run(RunAsync, CancellationToken.None);
    }

    /// <summary>When it has ended no kick is under way, which would start a stopped ring again. In bounded time: a back-end that does not answer costs the session.</summary>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false); // does not fail
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        try
        {
            while (true)
            {
                await _kick.WaitAsync(_stop.Token).ConfigureAwait(false);
                if (_kick.TryConsume())
                    await SendAsync().ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
        {
            // The ring stops, or its driver has gone.
        }
        catch (VhostUserException e)
        {
            FrontendLog.KickFailed(_log, _index, e.Message); // the session has ended
        }
        catch (Exception e)
        {
            FrontendLog.KickFailed(_log, _index, e.Message);
            _failed();
        }
    }

    private async ValueTask SendAsync()
    {
        try
        {
            await _requests.VringKickAsync(_index, CancellationToken.None).ConfigureAwait(false); // cancelled half-way it would end the session
        }
        catch (VhostUserRejectedException e)
        {
            _refusals++;
            if (long.IsPow2(_refusals))
                FrontendLog.KickRefused(_log, _index, _refusals, e.Message);
            _failed();
        }
    }
}
