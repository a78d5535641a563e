using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>A started ring. It stays valid until it is stopped, the device is reset or the session ends.</summary>
public sealed class FrontendVring
{
    private readonly VhostUserFrontend _session;

    /// <summary>Where kicks go as messages; null where they do not, and once the ring stops.</summary>
    private InbandKicks? _kicks;

    internal FrontendVring(VhostUserFrontend session, VringSettings settings, VhostUserVringAddress address)
    {
        _session = session;
        Settings = settings;
        Address = address;
    }

    /// <summary>The ring's number.</summary>
    public int Index => Settings.Index;

    /// <summary>
    /// What the ring was started with, or as changed since. To start it again where it stopped:
    /// <c>session.StartVringAsync(ring.Settings with { Base = resumeAt })</c>.
    /// </summary>
    public VringSettings Settings { get; internal set; }

    /// <summary>Whether the back-end works on the ring: between its start and its stop.</summary>
    public bool IsStarted { get; internal set; }

    /// <summary>Whether the ring is enabled.</summary>
    public bool IsEnabled { get; internal set; }

    /// <summary>The addresses as they were sent.</summary>
    internal VhostUserVringAddress Address { get; }

    /// <summary>SET_VRING_ENABLE. A disabled ring stays started; the back-end takes nothing from it.</summary>
    /// <param name="enabled">True to enable.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when the back-end has done so.</returns>
    /// <exception cref="VhostUserFeatureException">The back-end does not offer bit 30: its rings are always enabled.</exception>
    /// <exception cref="InvalidOperationException">The ring is stopped.</exception>
    public ValueTask SetEnabledAsync(bool enabled, CancellationToken cancellationToken = default) =>
        _session.SetVringEnabledAsync(this, enabled, cancellationToken);

    /// <summary>SET_VRING_CALL while the ring runs, as a hypervisor does when the guest masks or moves an interrupt. With INBAND_NOTIFICATIONS nothing is sent: what the back-end says goes to the new notifier.</summary>
    /// <param name="call">The new notifier, borrowed; null for none.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when the back-end has taken it.</returns>
    /// <exception cref="InvalidOperationException">The ring is stopped.</exception>
    public ValueTask SetCallAsync(EventNotifier? call, CancellationToken cancellationToken = default) =>
        _session.SetVringCallAsync(this, call, cancellationToken);

    /// <summary>
    /// Stops the ring: SET_VRING_ENABLE 0, so that the data path stops first, then GET_VRING_BASE, which waits for requests in flight. When it completes the back-end does not touch
    /// the ring any more, nor the buffers of its requests. A back-end of this library whose device needs longer than its <c>DrainTimeout</c> ends the session instead; only packets that its application keeps lent are not
    /// waited for longer. (One that has GET_VRING_BASE_INFLIGHT negotiated without GET_VRING_BASE_SKIP_DRAIN, and was given a region, may leave requests noted there instead, as with <see cref="SuspendAsync"/>.)
    /// </summary>
    /// <param name="cancellationToken">Cancels freely until a request has left.</param>
    /// <returns>Where to go on.</returns>
    /// <exception cref="VhostUserProtocolException">
    /// The base the back-end answered cannot be: more than the ring's size away from the indices in the ring. The ring is stopped all the same.
    /// </exception>
    /// <exception cref="VhostUserTimeoutException">The requests did not end within <see cref="VhostUserFrontendOptions.ReplyTimeout"/>, and with that the session has.</exception>
    /// <exception cref="VhostUserDisconnectedException">The back-end has ended the session, as its device did not finish in time for example, or is lost.</exception>
    /// <exception cref="InvalidOperationException">The ring is stopped.</exception>
    public ValueTask<VringBase> StopAsync(CancellationToken cancellationToken = default) => _session.StopVringAsync(this, suspends: false, cancellationToken);

    /// <summary>
    /// Stops the ring without waiting for requests in flight: SET_VRING_ENABLE 0, then GET_VRING_BASE_SKIP_DRAIN, or GET_VRING_BASE where the back-end offers GET_VRING_BASE_INFLIGHT alone. What the back-end has taken
    /// and not answered is noted in the region that it was given (<see cref="VhostUserFrontend.UseInflightRegionAsync"/>), and whichever back-end gets that region next serves it again. When it completes the back-end
    /// does not touch the ring any more, nor the buffers of these requests.
    /// </summary>
    /// <param name="cancellationToken">Cancels freely until a request has left.</param>
    /// <returns>Where to go on, behind what is noted.</returns>
    /// <exception cref="VhostUserFeatureException">GET_VRING_BASE_INFLIGHT is not negotiated. Ask for it, for GET_VRING_BASE_SKIP_DRAIN and for INFLIGHT_SHMFD with <see cref="VhostUserFrontendOptions.WantedProtocolFeatures"/>.</exception>
    /// <exception cref="VhostUserProtocolException">As for <see cref="StopAsync"/>.</exception>
    /// <exception cref="VhostUserTimeoutException">As for <see cref="StopAsync"/>, of what cannot be called back.</exception>
    /// <exception cref="VhostUserDisconnectedException">As for <see cref="StopAsync"/>.</exception>
    /// <exception cref="InvalidOperationException">The ring is stopped, or the back-end was given no region: then the requests would be lost.</exception>
    public ValueTask<VringBase> SuspendAsync(CancellationToken cancellationToken = default) => _session.StopVringAsync(this, suspends: true, cancellationToken);

    /// <summary>Any thread.</summary>
    /// <returns>What was there, the caller's to dispose.</returns>
    internal InbandKicks? ReplaceKicks(InbandKicks? kicks) => Interlocked.Exchange(ref _kicks, kicks);
}
