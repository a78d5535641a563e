namespace Vhost.Frontend;

/// <summary>How long, and how often, a client looks for the next back-end when one was lost.</summary>
public sealed record ReconnectPolicy
{
    /// <summary>Pause between two tries. Default: 1 second.</summary>
    public TimeSpan Delay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long to try before the client ends with the reason for which the back-end was lost. Default: <see cref="Timeout.InfiniteTimeSpan"/>, until it is disposed.</summary>
    public TimeSpan Limit { get; init; } = Timeout.InfiniteTimeSpan;

    internal void Validate()
    {
        if (Delay <= TimeSpan.Zero || Delay > TimeSpan.FromHours(1))
            throw new ArgumentException($"Reconnect.Delay {Delay}: must be more than 0 and at most an hour.");
        if (Limit != Timeout.InfiniteTimeSpan && (Limit <= TimeSpan.Zero || Limit > TimeSpan.FromDays(49)))
            throw new ArgumentException($"Reconnect.Limit {Limit}: must be more than 0 and at most 49 days, or infinite.");
    }
}
