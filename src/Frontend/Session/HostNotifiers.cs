namespace Vhost.Frontend;

/// <summary>The pages that the back-end has given for rings, one each at most. Any thread.</summary>
internal sealed class HostNotifiers(IHostNotifierUser user)
{
    private readonly Lock _gate = new();
    private readonly HostNotifierPage?[] _pages = new HostNotifierPage?[VringLimits.MaxQueues];

    /// <summary>Uses a page for a ring, if the ring runs then.</summary>
    public bool TryUse(HostNotifierPage page, Func<bool> runs)
    {
        lock (_gate)
        {
            RemoveLocked(page.Queue);
            if (!runs() || !user.TryUse(page))
                return false;
            _pages[page.Queue] = page;
            return true;
        }
    }

    /// <summary>The ring has its page no more.</summary>
    public void Remove(int queue)
    {
        lock (_gate)
            RemoveLocked(queue);
    }

    public void RemoveAll()
    {
        for (int queue = 0; queue < _pages.Length; queue++)
            Remove(queue);
    }

    private void RemoveLocked(int queue)
    {
        if (_pages[queue] is not { } page)
            return;
        _pages[queue] = null;
        try
        {
            user.Remove(page);
        }
        finally
        {
            page.Dispose();
        }
    }
}
