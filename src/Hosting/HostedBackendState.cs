namespace Vhost.Backend.Hosting;

/// <summary>What a hosted back-end does.</summary>
public enum HostedBackendState
{
    /// <summary>The host has not started it yet.</summary>
    NotStarted,

    /// <summary>It listens, or looks for its front-end, and none is connected.</summary>
    Waiting,

    /// <summary>A front-end is connected.</summary>
    Connected,

    /// <summary>The host is stopping it, or has.</summary>
    Stopped,

    /// <summary>It cannot go on: <see cref="HostedVhostUserBackend.Failure"/> says why.</summary>
    Failed,
}
