using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Where a back-end notes which requests it has taken and not given back (vhost-user "Inflight I/O tracking"). A back-end makes it
/// (<see cref="VhostUserFrontend.CreateInflightRegionAsync"/>); the front-end keeps it and hands it to whichever back-end comes next
/// (<see cref="VhostUserFrontend.UseInflightRegionAsync"/>), which then serves again what one that was killed had left.
/// </summary>
/// <remarks>
/// <para>Ownership: the descriptor is closed by <see cref="Dispose"/>. Keep the region as long as the rings: it belongs to them, not to a session. After a reset of the
/// device, or when the driver sets its rings up anew, make another one.</para>
/// <para>What stands in it is the back-ends' own business; nothing here reads it.</para>
/// </remarks>
public sealed class InflightRegion : IDisposable
{
    internal InflightRegion(VhostUserInflight area, SafeFileHandle descriptor)
    {
        Area = area;
        Descriptor = descriptor;
    }

    /// <summary>Size and place in <see cref="Descriptor"/>, and the queues it is for, as the back-end that made it said.</summary>
    public VhostUserInflight Area { get; }

    /// <summary>Its memory. Borrowed: it is closed with the region.</summary>
    public SafeFileHandle Descriptor { get; }

    /// <summary>Closes the descriptor. A back-end that has the region keeps it mapped.</summary>
    public void Dispose() => Descriptor.Dispose();
}
