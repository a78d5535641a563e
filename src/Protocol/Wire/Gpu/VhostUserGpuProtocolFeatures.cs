namespace Vhost.Protocol;

/// <summary>Protocol feature bits of the GPU channel (vhost-user-gpu "Protocol features").</summary>
[Flags]
public enum VhostUserGpuProtocolFeatures : ulong
{
    /// <summary>No feature.</summary>
    None = 0,

    /// <summary>VHOST_USER_GPU_PROTOCOL_F_EDID (bit 0): GET_EDID.</summary>
    Edid = 1UL << 0,

    /// <summary>VHOST_USER_GPU_PROTOCOL_F_DMABUF2 (bit 1): DMABUF_SCANOUT2.</summary>
    Dmabuf2 = 1UL << 1,
}
