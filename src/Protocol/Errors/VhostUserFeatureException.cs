namespace Vhost.Protocol;

/// <summary>A feature that the caller requires, or that a call needs, was not offered or not negotiated.</summary>
public sealed class VhostUserFeatureException : VhostUserException
{
    /// <summary>Makes an exception.</summary>
    /// <param name="message">What is missing, and what was offered.</param>
    /// <param name="missing">Missing bits of the feature word.</param>
    /// <param name="missingProtocol">Missing protocol features.</param>
    public VhostUserFeatureException(string message, VirtioFeatures missing, VhostUserProtocolFeatures missingProtocol)
        : base(message)
    {
        Missing = missing;
        MissingProtocol = missingProtocol;
    }

    /// <summary>Missing bits of the feature word.</summary>
    public VirtioFeatures Missing { get; }

    /// <summary>Missing protocol features.</summary>
    public VhostUserProtocolFeatures MissingProtocol { get; }
}
