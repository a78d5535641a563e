namespace Vhost.Protocol;

/// <summary>The peer did not answer in time. Replies are matched by order, so the connection is over.</summary>
public sealed class VhostUserTimeoutException : VhostUserException
{
    /// <summary>Makes an exception.</summary>
    /// <param name="message">The request and the time it was given.</param>
    public VhostUserTimeoutException(string message)
        : base(message)
    {
    }

    /// <inheritdoc/>
    public override bool ShouldReconnect => true;
}
