using System.Threading.Channels;
using Microsoft.Extensions.Logging;

namespace Vhost.Frontend;

/// <summary>
/// Runs what is to happen on a configuration change apart from the back-end channel, so that it may read the configuration space while the
/// back-end waits for nothing. However many changes arrive meanwhile, one run follows.
/// </summary>
internal sealed class ConfigChangePump : IAsyncDisposable
{
    private readonly Channel<bool> _pending = Channel.CreateBounded<bool>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });
    private readonly CancellationTokenSource _stop = new();
    private readonly Func<CancellationToken, ValueTask> _changed;
    private readonly HandlerFailures _failures;
    private readonly Task _loop;

    public ConfigChangePump(Func<CancellationToken, ValueTask> changed, ILogger log)
    {
        _changed = changed;
        _failures = new HandlerFailures(log);
        _loop = RunAsync();
    }

    public void Signal() => _pending.Writer.TryWrite(true);

    /// <summary>Ends the loop without waiting for a handler that does not end.</summary>
    public async ValueTask DisposeAsync()
    {
        _pending.Writer.TryComplete();
        await _stop.CancelAsync().ConfigureAwait(false);
        await BoundedWait.ForAsync(_loop).ConfigureAwait(false);
    }

    private async Task RunAsync()
    {
        try
        {
            while (await _pending.Reader.WaitToReadAsync(_stop.Token).ConfigureAwait(false))
            {
                _pending.Reader.TryRead(out _);
                await RunOnceAsync().ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // The session ended.
        }
    }

    private async ValueTask RunOnceAsync()
    {
        try
        {
            await _changed(_stop.Token).ConfigureAwait(false);
        }
        catch (Exception failure) when (!_stop.IsCancellationRequested)
        {
            _failures.Log(failure, "VHOST_USER_BACKEND_CONFIG_CHANGE_MSG");
        }
    }
}
