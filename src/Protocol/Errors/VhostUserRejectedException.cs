namespace Vhost.Protocol;

/// <summary>The peer understood the request and refused it: its acknowledgement was not 0. The connection goes on.</summary>
public sealed class VhostUserRejectedException : VhostUserException
{
    /// <summary>Makes an exception.</summary>
    /// <param name="message">The request and the value of the acknowledgement.</param>
    /// <param name="replyCode">The value of the acknowledgement.</param>
    public VhostUserRejectedException(string message, ulong replyCode)
        : base(message) => ReplyCode = replyCode;

    /// <summary>The value of the acknowledgement.</summary>
    public ulong ReplyCode { get; }
}
