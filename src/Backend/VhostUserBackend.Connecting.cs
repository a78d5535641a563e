using Vhost.Protocol;

namespace Vhost.Backend;

// Client mode.
public sealed partial class VhostUserBackend
{
    /// <summary>
    /// Client mode: connects to a front-end that listens, and connects again whenever it went away, until cancelled; <see cref="VhostUserBackendOptions.Retry"/> says how.
    /// </summary>
    /// <param name="socketPath">Path of the front-end's socket. It may appear later, unless there is no <see cref="VhostUserBackendOptions.Retry"/>.</param>
    /// <param name="stopping">Ends connecting and the session that runs.</param>
    /// <exception cref="VhostUserException">The socket cannot be used: nobody came to listen on it within the limit, or there is no permission.</exception>
    /// <exception cref="ObjectDisposedException">The back-end was disposed before.</exception>
    public async Task ConnectAsync(string socketPath, CancellationToken stopping = default)
    {
        ArgumentNullException.ThrowIfNull(socketPath);
        RequireNotDisposed();
        using IDisposable call = _calls.Begin();
        using CancellationTokenSource linked = CancellationTokenSource.CreateLinkedTokenSource(stopping, _disposing.Token);
        NameAfter(socketPath);
        try
        {
            if (_options.Retry is { } retry)
                await ConnectAgainAndAgainAsync(socketPath, retry, linked.Token).ConfigureAwait(false);
            else
                await ServeAsync(await ConnectOnceAsync(socketPath, linked.Token).ConfigureAwait(false), static () => false, linked.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (linked.IsCancellationRequested)
        {
            // Asked to stop.
        }
    }

    private async Task ConnectAgainAndAgainAsync(string path, ConnectRetry retry, CancellationToken stopping)
    {
        TimeProvider time = _options.TimeProvider;
        long since = time.GetTimestamp();
        for (TimeSpan pause = retry.Delay; ; pause = Shorter(pause * 2, retry.LongestDelay))
        {
            try
            {
                VhostUserConnection connection = await ConnectOnceAsync(path, stopping).ConfigureAwait(false);
                SessionEnd end = await ServeAsync(connection, static () => false, stopping).ConfigureAwait(false);
                if (end.HasSpoken)
                    pause = retry.Delay;
                since = time.GetTimestamp();
            }
            catch (VhostUserException e) when (MayPass(e))
            {
                if (retry.Limit != Timeout.InfiniteTimeSpan && time.GetElapsedTime(since) >= retry.Limit)
                    throw;
                BackendLog.ConnectLater(_logger, path, pause.TotalSeconds, e.Message);
            }

            await Task.Delay(pause, time, stopping).ConfigureAwait(false);
        }
    }

    private ValueTask<VhostUserConnection> ConnectOnceAsync(string path, CancellationToken stopping) => VhostUserConnection.ConnectAsync(
        path,
        new VhostUserConnectOptions
        {
            SendTimeout = _options.SendTimeout,
            MessageTimeout = _options.MessageTimeout,
            TimeProvider = _options.TimeProvider,
            Logger = _logger,
        },
        stopping);

    /// <summary>Nobody is there for the time being, or this process lacks something at present.</summary>
    private static bool MayPass(VhostUserException e) =>
        e is VhostUserDisconnectedException || e.InnerException is LinuxException { Errno: Libc.EMFILE or Libc.ENFILE or Libc.ENOBUFS or Libc.ENOMEM };

    private static TimeSpan Shorter(TimeSpan one, TimeSpan other) => one < other ? one : other;
}
