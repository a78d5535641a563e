namespace Vhost.Protocol;

/// <summary>The root of what goes wrong between vhost-user peers. Subclasses exist where a caller reacts differently.</summary>
public class VhostUserException : IOException
{
    /// <summary>Makes an exception.</summary>
    /// <param name="message">Message, field, value received, range allowed, negotiated state, as far as they apply.</param>
    /// <param name="inner">The cause.</param>
    public VhostUserException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }

    /// <summary>The code of the request it happened on, in the numbering of its channel; null when no single request is concerned.</summary>
    public uint? RequestCode { get; init; }

    /// <summary>A new connection to the same peer may succeed where this one ended.</summary>
    public virtual bool ShouldReconnect => false;
}
