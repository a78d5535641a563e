using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The IOMMU between a guest and its devices, as sessions ask it (<see cref="VhostUserFrontendOptions.Iommu"/>). A hypervisor implements this on top of the tables that its guest writes;
/// <see cref="IommuMappings"/> is one for emulators and tests.
/// </summary>
/// <remarks>
/// <para>Order: what the guest unmaps is first gone from <see cref="Translate"/>, then withdrawn from each attached session (<see cref="VhostUserFrontend.InvalidateIotlbAsync"/>), and only when that has completed is
/// the guest told that its unmapping is done. Then no device uses the memory any more. Mapping needs no message.</para>
/// <para>Threading: called from any thread, from several sessions at once; never with a lock of a session held that <see cref="VhostUserFrontend.InvalidateIotlbAsync"/> would need: an
/// implementation may hold one of its own over that call and wait for it in <see cref="Translate"/>.</para>
/// </remarks>
public interface IVirtioIommu
{
    /// <summary>Finds where an address leads. Must not wait for the guest or for a device.</summary>
    /// <param name="address">The address that a device wants.</param>
    /// <param name="access">What it wants to do there.</param>
    /// <returns>
    /// A translation that contains the address and allows the access, as large as the IOMMU likes, with all that the guest allows there and not only what was asked for: what the device does not know to be allowed it
    /// takes for forbidden. Null: the guest has mapped nothing there, or not for that. The device then waits, and asks again.
    /// </returns>
    IommuTranslation? Translate(IoVirtualAddress address, VhostUserIotlbPermission access);

    /// <summary>A session begins to keep translations. May come more than once.</summary>
    /// <param name="device">To be told what is unmapped, until <see cref="Detach"/>.</param>
    void Attach(VhostUserFrontend device);

    /// <summary>
    /// A session needs to be told no more: it has ended and its back-end has let go of the memory, or the guest has taken ACCESS_PLATFORM back. May come more than once. It does not come where
    /// <see cref="VhostUserFrontend.HasBackendLetGo"/> is false after the end: the back-end may write to the guest's memory until its process has ended, <see cref="VhostUserFrontend.InvalidateIotlbAsync"/> throws, and no
    /// unmapping can be acknowledged. Who knows that the process has ended (<see cref="VhostUserFrontend.PeerProcessId"/>) detaches the session himself.
    /// </summary>
    /// <param name="device">What was attached.</param>
    void Detach(VhostUserFrontend device);

    /// <summary>A device reports that an access was refused to it (ACCESS_FAIL), for the fault log of the IOMMU. The default does nothing.</summary>
    /// <param name="device">Which.</param>
    /// <param name="address">Where.</param>
    /// <param name="access">What it wanted to do.</param>
    void AccessFailed(VhostUserFrontend device, IoVirtualAddress address, VhostUserIotlbPermission access)
    {
    }
}
