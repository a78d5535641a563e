namespace Vhost.Protocol;

/// <summary>Which of a session's sockets a message travels on; the name says who asks.</summary>
public enum VhostUserChannel : byte
{
    /// <summary>The main channel: the front-end asks (<see cref="VhostUserRequest"/>).</summary>
    Main,

    /// <summary>The back-end channel of SET_BACKEND_REQ_FD: the back-end asks (<see cref="VhostUserBackendRequest"/>).</summary>
    Backend,

    /// <summary>The channel of GPU_SET_SOCKET: a GPU back-end asks (<see cref="VhostUserGpuRequest"/>).</summary>
    Gpu,
}
