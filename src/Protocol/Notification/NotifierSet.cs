namespace Vhost.Protocol;

/// <summary>Notifiers that one thread waits for at once, any number of them, put together anew for each wait. Not thread-safe; the notifiers stay their owners'.</summary>
internal sealed class NotifierSet
{
    private EventNotifier[] _notifiers = new EventNotifier[8];
    private Libc.PollDescriptor[] _elements = new Libc.PollDescriptor[8];
    private int _count;

    internal void Clear()
    {
        Array.Clear(_notifiers, 0, _count);
        _count = 0;
    }

    /// <returns>The place to ask <see cref="IsReady"/> for.</returns>
    internal int Add(EventNotifier notifier)
    {
        if (_count == _notifiers.Length)
        {
            Array.Resize(ref _notifiers, 2 * _count);
            Array.Resize(ref _elements, 2 * _count);
        }

        _notifiers[_count] = notifier;
        return _count++;
    }

    /// <summary>Blocks until one of them has something to consume; consumes nothing. False when the time passed.</summary>
    /// <exception cref="ObjectDisposedException">One of the notifiers was disposed.</exception>
    internal bool Wait(TimeSpan timeout)
    {
        int held = 0;
        try
        {
            for (; held < _count; held++)
                _elements[held] = new Libc.PollDescriptor { Descriptor = _notifiers[held].Hold(), Events = Libc.POLLIN };
            return EventNotifier.PollUntil(_elements.AsSpan(0, _count), timeout) >= 0;
        }
        finally
        {
            while (held > 0)
                _notifiers[--held].LetGo();
        }
    }

    /// <summary>Whether the last wait found something to consume there.</summary>
    internal bool IsReady(int place) => (_elements[place].Returned & Libc.POLLIN) != 0;
}
