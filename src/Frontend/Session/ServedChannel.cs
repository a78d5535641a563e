using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>A channel on which the back-end asks: served on a task of its own, one request at a time, whatever the main channel is doing. What breaks the rules there ends this channel alone.</summary>
internal sealed class ServedChannel : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly VhostUserConnection _connection;
    private readonly Func<VhostUserMessage, CancellationToken, ValueTask> _serve;
    private readonly Action _ended;
    private readonly Action<string> _lost;
    private readonly Task _loop;

    /// <summary>Takes ownership of the connection and begins to listen.</summary>
    /// <param name="connection">Our end.</param>
    /// <param name="serve">Carries out one request and answers it; the message is disposed afterwards. What it throws ends the channel.</param>
    /// <param name="ended">The back-end has closed the channel.</param>
    /// <param name="lost">The channel broke, and why.</param>
    public ServedChannel(VhostUserConnection connection, Func<VhostUserMessage, CancellationToken, ValueTask> serve, Action ended, Action<string> lost)
    {
        (_connection, _serve, _ended, _lost) = (connection, serve, ended, lost);
        _loop = Task.Run(RunAsync, CancellationToken.None);
    }

    /// <summary>Closes the channel at once, as the main channel is lost.</summary>
    public void Abort()
    {
        _stop.Cancel();
        _connection.Abort();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _connection.Abort();
        await BoundedWait.ForAsync(_loop).ConfigureAwait(false);
        await _connection.DisposeAsync().ConfigureAwait(false);
    }

    private async Task RunAsync()
    {
        try
        {
            while (await _connection.ReceiveAsync(_stop.Token).ConfigureAwait(false) is { } message)
            {
                using (message)
                    await _serve(message, _stop.Token).ConfigureAwait(false);
            }

            _ended();
        }
        catch (Exception) when (_stop.IsCancellationRequested)
        {
            // The session ended.
        }
        catch (Exception failure)
        {
            _lost(failure.Message);
        }
        finally
        {
            // The back-end sees at once that nobody listens any more.
            _connection.Abort();
        }
    }
}
