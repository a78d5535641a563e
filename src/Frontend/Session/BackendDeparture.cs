using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>What the end of a session says about the process on the other side.</summary>
internal static class BackendDeparture
{
    /// <summary>Whether the back-end ended the session itself, or the kernel for it: then it has stopped its rings, or runs no more.</summary>
    internal static bool HasLetGo(Exception reason) => reason switch
    {
        VhostUserDisconnectedException { InnerException: null or LinuxException } => true,
        VhostUserDisconnectedException { InnerException: VhostUserException before } => HasLetGo(before), // what a later request met
        VhostUserProtocolException { Violation: VhostUserViolation.TruncatedMessage } => true,
        _ => false,
    };
}
