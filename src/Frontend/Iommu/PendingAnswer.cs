namespace Vhost.Frontend;

/// <summary>
/// The answer to a miss between its look-up and its departure, when it can be overtaken: what is withdrawn meanwhile makes it stale, and it is looked up again.
/// </summary>
/// <remarks>Threading: one answer at a time; withdrawals come from any thread.</remarks>
internal sealed class PendingAnswer
{
    private readonly Lock _gate = new();
    private ulong _first;
    private ulong _last;
    private bool _isStale;

    /// <summary>A look-up begins: nobody knows yet what it will find, so every withdrawal concerns it.</summary>
    internal void Begin()
    {
        lock (_gate)
            (_first, _last, _isStale) = (0, ulong.MaxValue, false);
    }

    /// <summary>The look-up has found this range; withdrawals of others do not concern it any more.</summary>
    internal void Narrow(ulong first, ulong last)
    {
        lock (_gate)
            (_first, _last) = (first, last);
    }

    /// <summary>A range is withdrawn.</summary>
    internal void Withdraw(ulong first, ulong last)
    {
        lock (_gate)
            _isStale |= first <= _last && _first <= last;
    }

    /// <summary>Whether something of the answer was withdrawn since the look-up began.</summary>
    internal bool IsStale
    {
        get
        {
            lock (_gate)
                return _isStale;
        }
    }
}
