using Vhost.Protocol;

namespace Vhost.Backend;

// How long a front-end may be silent. Inside a message the connection itself sets the limit.
internal sealed partial class BackendSession
{
    private async ValueTask<VhostUserMessage?> ReceiveAsync(bool first, CancellationToken stopping)
    {
        TimeSpan limit = first ? _options.FirstMessageTimeout : _options.IdleTimeout;
        if (limit == Timeout.InfiniteTimeSpan)
            return await _connection.ReceiveAsync(stopping).ConfigureAwait(false);
        while (true)
        {
            using CancellationTokenSource deadline = new(limit, _options.TimeProvider);
            using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, stopping);
            try
            {
                return await _connection.ReceiveAsync(either.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!stopping.IsCancellationRequested)
            {
                // A cancelled receive has lost nothing, so it can simply go on.
                if (!_connection.InsideMessage && (!first || _somebodyWaits()))
                    throw Silent(first, limit);
            }
        }
    }

    private VhostUserTimeoutException Silent(bool first, TimeSpan limit) => new(
        first
            ? $"{_connection.Name}: the front-end has not said anything for {limit.TotalSeconds:0.###} s, and another one waits for its turn"
            : $"{_connection.Name}: the front-end was silent for {limit.TotalSeconds:0.###} s, the longest allowed here");
}
