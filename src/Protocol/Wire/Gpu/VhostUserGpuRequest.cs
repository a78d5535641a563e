namespace Vhost.Protocol;

/// <summary>Requests of a GPU back-end on the channel of GPU_SET_SOCKET (vhost-user-gpu "Message types"). The enumeration is open.</summary>
public enum VhostUserGpuRequest : uint
{
    /// <summary>GET_PROTOCOL_FEATURES reads the GPU protocol feature bits the front-end offers.</summary>
    GetProtocolFeatures = 1,

    /// <summary>SET_PROTOCOL_FEATURES acknowledges GPU protocol feature bits.</summary>
    SetProtocolFeatures = 2,

    /// <summary>GET_DISPLAY_INFO reads the preferred display configuration.</summary>
    GetDisplayInfo = 3,

    /// <summary>CURSOR_POS sets and shows the cursor position.</summary>
    CursorPos = 4,

    /// <summary>CURSOR_POS_HIDE sets the cursor position and hides the cursor.</summary>
    CursorPosHide = 5,

    /// <summary>CURSOR_UPDATE replaces the cursor image.</summary>
    CursorUpdate = 6,

    /// <summary>SCANOUT sets the resolution of a scanout; 0 × 0 disables it.</summary>
    Scanout = 7,

    /// <summary>UPDATE updates the pixels of a rectangle.</summary>
    Update = 8,

    /// <summary>DMABUF_SCANOUT sets the scanout to a dma-buf.</summary>
    DmabufScanout = 9,

    /// <summary>DMABUF_UPDATE announces a changed rectangle of the dma-buf.</summary>
    DmabufUpdate = 10,

    /// <summary>GET_EDID reads the EDID of a scanout.</summary>
    GetEdid = 11,

    /// <summary>DMABUF_SCANOUT2 sets the scanout to a dma-buf with a modifier.</summary>
    DmabufScanout2 = 12,
}
