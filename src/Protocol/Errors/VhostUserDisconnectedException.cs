namespace Vhost.Protocol;

/// <summary>The peer went away, or cannot be reached.</summary>
public sealed class VhostUserDisconnectedException : VhostUserException
{
    /// <summary>Makes an exception.</summary>
    /// <param name="message">What was going on when it happened.</param>
    /// <param name="inner">The cause.</param>
    public VhostUserDisconnectedException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }

    /// <inheritdoc/>
    /// <remarks>When it says that the connection had ended before, the reason of that decides (<see cref="Exception.InnerException"/>).</remarks>
    public override bool ShouldReconnect => InnerException is not VhostUserException before || before.ShouldReconnect;
}
