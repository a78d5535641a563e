namespace Vhost.Protocol;

/// <summary>How to connect to a listening peer.</summary>
public sealed record VhostUserConnectOptions : VhostUserConnectionOptions
{
    /// <summary>
    /// How long to keep trying while nobody listens, or while no descriptor is left; zero (the default) tries once, <see cref="Timeout.InfiniteTimeSpan"/> until cancelled.
    /// </summary>
    public TimeSpan RetryFor { get; init; } = TimeSpan.Zero;

    /// <summary>Pause between two tries.</summary>
    public TimeSpan RetryDelay { get; init; } = TimeSpan.FromMilliseconds(50);
}
