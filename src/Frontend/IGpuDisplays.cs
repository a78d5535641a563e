using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The displays that a GPU back-end draws on (vhost-user-gpu; <see cref="VhostUserFrontend.ShowGpuAsync"/>).</summary>
/// <remarks>
/// One request at a time, in the order in which they came, on a task of its own. The sizes of all payloads were checked, what is in them was not: a scanout may be any number, a rectangle may lie outside. What a member
/// throws ends the channel and is logged; the session goes on.
/// </remarks>
public interface IGpuDisplays
{
    /// <summary>GET_PROTOCOL_FEATURES (1): what can be done here. Default: nothing beyond the basics.</summary>
    VhostUserGpuProtocolFeatures Features => VhostUserGpuProtocolFeatures.None;

    /// <summary>GET_DISPLAY_INFO (3).</summary>
    /// <returns>At most sixteen displays, by scanout.</returns>
    IReadOnlyList<VhostUserGpuDisplay> GetDisplays();

    /// <summary>GET_EDID (11); asked only where <see cref="Features"/> has EDID.</summary>
    /// <param name="scanout">The display.</param>
    /// <returns>At most 1024 bytes; empty where there is none.</returns>
    ReadOnlyMemory<byte> GetEdid(uint scanout) => default;

    /// <summary>CURSOR_POS (4) and CURSOR_POS_HIDE (5).</summary>
    /// <param name="position">Where.</param>
    /// <param name="visible">Whether it is shown.</param>
    void MoveCursor(VhostUserGpuCursorPosition position, bool visible)
    {
    }

    /// <summary>CURSOR_UPDATE (6).</summary>
    /// <param name="image">The image; valid during the call.</param>
    void UpdateCursor(in VhostUserGpuCursorImage image)
    {
    }

    /// <summary>SCANOUT (7).</summary>
    /// <param name="scanout">The display and its size; 0 × 0 turns it off.</param>
    void SetScanout(VhostUserGpuScanout scanout);

    /// <summary>UPDATE (8).</summary>
    /// <param name="update">The rectangle and its pixels; valid during the call.</param>
    void Update(in VhostUserGpuUpdate update);

    /// <summary>DMABUF_SCANOUT (9) and, where <see cref="Features"/> has DMABUF2, DMABUF_SCANOUT2 (12).</summary>
    /// <param name="scanout">The display and the layout of the buffer; the modifier is 0 where none was said.</param>
    /// <param name="buffer">The dma-buf, owned by the callee; null turns the display off. Nothing was looked at: a back-end that lies sends any descriptor, such as a pipe or a file that never answers.</param>
    void SetDmabufScanout(VhostUserGpuDmabufScanout2 scanout, SafeFileHandle? buffer) => buffer?.Dispose();

    /// <summary>DMABUF_UPDATE (10): a part of the dma-buf has changed.</summary>
    /// <param name="rectangle">Which part.</param>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>Ends when it is shown; then the back-end draws to the buffer again.</returns>
    ValueTask UpdateDmabufAsync(VhostUserGpuRectangle rectangle, CancellationToken cancellationToken) => ValueTask.CompletedTask;
}
