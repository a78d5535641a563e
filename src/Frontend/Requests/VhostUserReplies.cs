using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The answer to GET_CONFIG.</summary>
/// <param name="Header">Offset and size as the back-end repeated them; all zero when it refused with an empty reply.</param>
/// <param name="Window">The bytes after the header.</param>
public readonly record struct VhostUserConfigReply(VhostUserConfig Header, ReadOnlyMemory<byte> Window)
{
    /// <summary>Whether the back-end refused: peers say so with an empty reply, or with a header whose size is 0.</summary>
    public bool IsRefusal => Window.IsEmpty;
}

/// <summary>The answer to GET_INFLIGHT_FD.</summary>
/// <param name="Area">Size and offset of the area; size 0 when the back-end keeps none.</param>
/// <param name="Descriptor">Its memory, owned by the caller; null when the back-end keeps none.</param>
public readonly record struct VhostUserInflightReply(VhostUserInflight Area, SafeFileHandle? Descriptor);

/// <summary>The answer to SET_DEVICE_STATE_FD with what came along.</summary>
/// <param name="Reply">The error of the back-end, and whether to use the descriptor that was sent.</param>
/// <param name="Descriptor">The descriptor to use instead of the one that was sent, owned by the caller; null when there is none.</param>
public readonly record struct DeviceStateTransfer(VhostUserDeviceStateReply Reply, SafeFileHandle? Descriptor);
