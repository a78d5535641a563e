using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>Notification suppression by index (VIRTIO_F_EVENT_IDX, virtio 1.2, 2.7.10).</summary>
internal static class EventIndex
{
    /// <summary>
    /// Indices live on a circle of 65,536. One side moved from <paramref name="old"/> to <paramref name="now"/>; the other asked to be told when
    /// the entry at <paramref name="wanted"/> is passed. True when that entry lies in the arc [old, now).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool Passed(ushort wanted, ushort now, ushort old) => (ushort)(now - wanted - 1) < (ushort)(now - old);
}
