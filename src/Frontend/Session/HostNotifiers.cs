using Microsoft.Extensions.Logging;

namespace Vhost.Frontend;

/// <summary>
/// The pages that the back-end has given for rings, one each at most. Any thread. The user is called in order, one call at a time, on tasks of their own: one that does not return holds up other calls, and nobody for ever.
/// </summary>
internal sealed class HostNotifiers(IHostNotifierUser user, ILogger log)
{
    private readonly Lock _gate = new();
    private readonly HandlerFailures _failures = new(log);
    private readonly HostNotifierPage?[] _pages = new HostNotifierPage?[VringLimits.MaxQueues];
    private Task _last = Task.CompletedTask;
    private bool _closed;

    /// <summary>Uses a page for a ring, if the ring runs when it is its turn. Takes ownership of the page.</summary>
    /// <returns>Null: it is in use; else why not.</returns>
    public Task<string?> TryUseAsync(HostNotifierPage page, Func<bool> runs) => InTurn(() => TryUse(page, runs));

    /// <summary>The ring has its page no more when this ends, unless the user takes too long.</summary>
    public ValueTask RemoveAsync(int queue) => WaitForAsync(InTurn(() => Remove(queue)));

    public ValueTask RemoveAllAsync() => WaitForAsync(InTurn(RemoveAll));

    /// <summary>The session has ended: no page is in use any more, and none will be.</summary>
    public ValueTask CloseAsync()
    {
        lock (_gate)
            _closed = true;
        return RemoveAllAsync();
    }

    private Task<T> InTurn<T>(Func<T> call)
    {
        lock (_gate)
        {
            Task<T> turn = _last.ContinueWith(_ => call(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
            _last = turn;
            return turn;
        }
    }

    private async ValueTask WaitForAsync(Task turn)
    {
        await BoundedWait.ForAsync(turn).ConfigureAwait(false);
        if (!turn.IsCompleted)
            FrontendLog.HostNotifierUserWaits(log);
    }

    private string? TryUse(HostNotifierPage page, Func<bool> runs)
    {
        string? problem = "the hypervisor failed";
        try
        {
            Remove(page.Queue);
            problem = IsClosed() ? "the session has ended" : !runs() ? "it has stopped" : !user.TryUse(page) ? "the hypervisor has no use for its page" : null;
            if (problem is null)
                _pages[page.Queue] = page;
            return problem;
        }
        finally
        {
            if (problem is not null)
                page.Dispose();
        }
    }

    private bool IsClosed()
    {
        lock (_gate)
            return _closed;
    }

    private bool RemoveAll()
    {
        for (int queue = 0; queue < _pages.Length; queue++)
            Remove(queue);
        return true;
    }

    /// <summary>Whatever the user does: when it has returned the page is unmapped.</summary>
    private bool Remove(int queue)
    {
        if (_pages[queue] is not { } page)
            return true;
        _pages[queue] = null;
        try
        {
            user.Remove(page);
        }
        catch (Exception failure)
        {
            _failures.Log(failure, nameof(IHostNotifierUser));
        }

        page.Dispose();
        return true;
    }
}
