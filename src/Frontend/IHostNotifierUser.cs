namespace Vhost.Frontend;

/// <summary>A hypervisor that can map a page of the device over the place where its guest notifies a ring (HOST_NOTIFIER). <see cref="VhostUserFrontendOptions.HostNotifiers"/>.</summary>
/// <remarks>
/// Called on tasks of their own, never twice at the same time; must not wait for the session. What is thrown is logged. A call that does not return holds up the calls after it; the session waits two seconds for it, then goes
/// on and leaves the page mapped until the call has returned.
/// </remarks>
public interface IHostNotifierUser
{
    /// <summary>A page has come for a ring that runs. One that had come before was removed.</summary>
    /// <param name="page">The page; the session's, which disposes it after <see cref="Remove"/>.</param>
    /// <returns>False: it is of no use here. The back-end is refused.</returns>
    bool TryUse(HostNotifierPage page);

    /// <summary>The page goes: the back-end takes it back, the ring stops, the device is reset or the session ends. When this returns the guest has it no more.</summary>
    /// <param name="page">The page.</param>
    void Remove(HostNotifierPage page);
}
