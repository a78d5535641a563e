using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The device refused a command of the control queue (VIRTIO_NET_ERR), or answered what is no answer. The client goes on.</summary>
public sealed class NetControlException : VhostUserException
{
    internal NetControlException(string message)
        : base(message)
    {
    }
}
