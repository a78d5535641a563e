namespace Vhost.Backend;

/// <summary>
/// How soon a socket takes its next front-end after one that broke the rules: at once as long as that is rare, then after a pause, so that one that is thrown out and comes again and again costs the others little.
/// </summary>
/// <param name="pause">Between two that broke the rules, once the first ones have.</param>
/// <param name="time">The clock.</param>
internal sealed class AcceptPace(TimeSpan pause, TimeProvider time)
{
    private const int Burst = 16;

    private int _left = Burst;
    private long _earnedUntil = time.GetTimestamp();

    /// <summary>A front-end was thrown out.</summary>
    /// <param name="stopping">Ends the pause.</param>
    /// <returns>Whether there was a pause, and it has passed.</returns>
    internal async ValueTask<bool> PauseAsync(CancellationToken stopping)
    {
        if (pause == TimeSpan.Zero)
            return false;
        Earn();
        if (_left > 0)
        {
            _left--;
            return false;
        }

        try
        {
            await Task.Delay(pause, time, stopping).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return false; // asked to stop while waiting
        }

        _earnedUntil = time.GetTimestamp(); // this pause was paid for those that are let in
        return true;
    }

    private void Earn()
    {
        long now = time.GetTimestamp();
        double earned = time.GetElapsedTime(_earnedUntil, now) / pause;
        if (earned < 1)
            return;
        _left = (int)Math.Min(Burst, _left + Math.Floor(earned));
        _earnedUntil = now;
    }
}
