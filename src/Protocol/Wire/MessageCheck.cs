namespace Vhost.Protocol;

/// <summary>The verdict on one message. <c>default</c> means the message is valid.</summary>
/// <param name="Violation">The rule that was broken.</param>
/// <param name="Explanation">Message, field, value received, range allowed, negotiated state; null when the message is valid.</param>
public readonly record struct MessageCheck(VhostUserViolation Violation, string? Explanation)
{
    /// <summary>No rule was broken.</summary>
    public bool IsValid => Violation == VhostUserViolation.None;

    /// <summary>The verdict as an exception.</summary>
    /// <param name="requestCode">The request it is about; null when no single request is concerned.</param>
    public VhostUserProtocolException ToException(uint? requestCode = null) =>
        new(Violation, Explanation ?? "The message is valid.") { RequestCode = requestCode };
}
