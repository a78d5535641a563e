namespace Vhost.Protocol;

/// <summary>Bounds the log lines that peers can cause: a burst, then one each interval. Lines beyond that are dropped.</summary>
internal sealed class LogBudget(TimeProvider time)
{
    private const int Burst = 32;
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(500);

    private readonly Lock _gate = new();
    private int _left = Burst;
    private long _refilledAt = time.GetTimestamp();

    public bool TryTake()
    {
        lock (_gate)
        {
            double earned = time.GetElapsedTime(_refilledAt) / Interval;
            if (earned >= 1)
            {
                _left = (int)Math.Min(Burst, _left + Math.Floor(earned));
                _refilledAt = time.GetTimestamp();
            }

            if (_left == 0)
                return false;
            _left--;
            return true;
        }
    }
}
