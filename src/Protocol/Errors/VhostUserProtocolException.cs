namespace Vhost.Protocol;

/// <summary>The peer broke the rules of the protocol; the connection is over.</summary>
public sealed class VhostUserProtocolException : VhostUserException
{
    /// <summary>Makes an exception.</summary>
    /// <param name="violation">The rule.</param>
    /// <param name="message">What was received and what is allowed.</param>
    /// <param name="inner">The cause.</param>
    public VhostUserProtocolException(VhostUserViolation violation, string message, Exception? inner = null)
        : base(message, inner) => Violation = violation;

    /// <summary>The rule that was broken.</summary>
    public VhostUserViolation Violation { get; }

    /// <summary>Only for a message cut short by the end of the stream: a peer that was killed while it sent has broken no rule that it could have kept.</summary>
    public override bool ShouldReconnect => Violation == VhostUserViolation.TruncatedMessage;
}
