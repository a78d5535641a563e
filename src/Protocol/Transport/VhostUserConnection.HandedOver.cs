using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

public sealed partial class VhostUserConnection
{
    /// <summary>
    /// Makes a socket pair of which the other end is to be handed to the peer, as SET_BACKEND_REQ_FD does. On that one reads and writes wait, as on those that QEMU hands over: back-ends count on it (DPDK's reads its
    /// answer once, vhost-user-gpu writes a frame once).
    /// </summary>
    /// <returns>Our end as a connection, and the other end, which the caller sends and closes.</returns>
    internal static (VhostUserConnection Ours, SafeFileHandle Theirs) CreatePairWithHandle(string name, VhostUserConnectionOptions? options = null)
    {
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        Libc.SetBlocking(theirs);
        return (new VhostUserConnection(new UnixSocketTransport(ours, name), options), theirs);
    }

    /// <summary>
    /// Whether a socket that the peer handed over is connected to the listener that this connection came from. It may be the peer's own end of this
    /// connection: as long as we held that, the connection would not end when the peer does.
    /// </summary>
    internal bool SharesListenerWith(SafeFileHandle handedOver) =>
        _transport is UnixSocketTransport transport && transport.SharesListenerWith(handedOver);

    /// <summary>The number of our socket (<see cref="DescriptorInfo.FileNumber"/>); 0 when this is none.</summary>
    internal ulong SocketNumber => (_transport as UnixSocketTransport)?.Number ?? 0;
}
