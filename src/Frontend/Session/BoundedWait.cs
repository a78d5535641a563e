namespace Vhost.Frontend;

/// <summary>Waiting at the end of a session: for our own loops, but not for ever, since a handler of the user may be on them.</summary>
internal static class BoundedWait
{
    private static readonly TimeSpan _limit = TimeSpan.FromSeconds(2);

    /// <summary>Real time on purpose: disposing must end even when the clock of the time-outs stands still.</summary>
    public static async ValueTask ForAsync(Task task)
    {
        // Whatever the loop ended with has been logged where it happened; a handler that outlives the limit is its author's affair.
        await task.WaitAsync(_limit).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }
}
