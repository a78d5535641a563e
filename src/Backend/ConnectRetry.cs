namespace Vhost.Backend;

/// <summary>
/// How a back-end in client mode looks for a front-end, the first one and the next after each loss: again and again, with pauses that double from
/// <see cref="Delay"/> to <see cref="LongestDelay"/> and begin anew once a front-end has said something.
/// </summary>
public sealed record ConnectRetry
{
    /// <summary>The first pause. Default: 100 ms.</summary>
    public TimeSpan Delay { get; init; } = TimeSpan.FromMilliseconds(100);

    /// <summary>The longest pause. Default: 2 seconds.</summary>
    public TimeSpan LongestDelay { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long to look for a front-end before giving up. Default: <see cref="Timeout.InfiniteTimeSpan"/>, until cancelled.</summary>
    public TimeSpan Limit { get; init; } = Timeout.InfiniteTimeSpan;

    internal void Validate()
    {
        TimeSpan longest = TimeSpan.FromHours(1);
        if (Delay <= TimeSpan.Zero || Delay > LongestDelay || LongestDelay > longest)
            throw new ArgumentException($"Retry.Delay is {Delay} and Retry.LongestDelay {LongestDelay}; more than 0, in this order, and at most {longest}");
        if (Limit != Timeout.InfiniteTimeSpan && Limit < TimeSpan.Zero)
            throw new ArgumentException($"Retry.Limit is {Limit}; 0 or more, or infinite");
    }
}
