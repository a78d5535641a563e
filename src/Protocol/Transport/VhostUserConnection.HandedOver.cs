using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

public sealed partial class VhostUserConnection
{
    /// <summary>Makes a socket pair of which the other end is to be handed to the peer, as SET_BACKEND_REQ_FD does.</summary>
    /// <returns>Our end as a connection, and the other end, which the caller sends and closes.</returns>
    internal static (VhostUserConnection Ours, SafeFileHandle Theirs) CreatePairWithHandle(string name, VhostUserConnectionOptions? options = null)
    {
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        return (new VhostUserConnection(new UnixSocketTransport(ours, name), options), theirs);
    }
}
