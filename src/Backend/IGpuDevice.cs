namespace Vhost.Backend;

/// <summary>A GPU: its front-end has displays, and gives it a socket to draw on them (GPU_SET_SOCKET, which no feature bit stands for).</summary>
public interface IGpuDevice : IVhostUserDevice
{
    /// <summary>The front-end has given a channel to its displays; one that it gave before is closed once this returns, and stays if this throws. Called from the session: must not wait for the channel.</summary>
    /// <param name="channel">The channel; the session closes it when the front-end goes.</param>
    void UseDisplays(VhostUserGpuChannel channel);
}
