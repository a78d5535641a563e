namespace Vhost.Frontend;

/// <summary>How long, and how often, a client looks for the next back-end when one was lost.</summary>
/// <remarks>
/// A back-end that ends the session has let go of the client's memory. One with which the session ended on our side (it did not answer in time, a call was cancelled, or it failed to take over after it had been given
/// the memory) may still write there: the same process may serve again, another one only once that one has ended; until then the search goes on. The process is the one that answers, whoever made its socket. One in a
/// pid namespace that we cannot see has no number here, and is not waited for.
/// </remarks>
public sealed record ReconnectPolicy
{
    /// <summary>Pause between two tries. Default: 1 second.</summary>
    public TimeSpan Delay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long to try before the client ends with the reason for which the back-end was lost. Default: <see cref="Timeout.InfiniteTimeSpan"/>, until it is disposed.</summary>
    public TimeSpan Limit { get; init; } = Timeout.InfiniteTimeSpan;

    /// <summary>
    /// Of a <see cref="BlockClient"/>: what to do where the back-end notes nowhere which requests it has taken (no INFLIGHT_SHMFD). True, the default: the rings, which are the client's own, are made anew for the next back-end,
    /// and requests that the lost one had not answered are submitted again, in the order in which they were made. That is at least once: the lost one may have executed them, so two writes of the
    /// same block that are under way at the same time may be executed in either order, and more than once. Reads, writes, flushes, discards, write-zeroes, secure erases and identities are
    /// submitted again; any other request (<see cref="BlockQueue.TrySubmit(int, in Vhost.Protocol.VirtioBlkRequestHeader, ReadOnlySpan{GuestBuffer}, ReadOnlySpan{GuestBuffer})"/>) comes back with
    /// an I/O error. False: the client ends with such a back-end.
    /// </summary>
    public bool RebuildRings { get; init; } = true;

    internal void Validate()
    {
        if (Delay <= TimeSpan.Zero || Delay > TimeSpan.FromHours(1))
            throw new ArgumentException($"Reconnect.Delay {Delay}: must be more than 0 and at most an hour.");
        if (Limit != Timeout.InfiniteTimeSpan && (Limit <= TimeSpan.Zero || Limit > TimeSpan.FromDays(49)))
            throw new ArgumentException($"Reconnect.Limit {Limit}: must be more than 0 and at most 49 days, or infinite.");
    }
}
