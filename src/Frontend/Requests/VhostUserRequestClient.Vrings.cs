using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

public sealed partial class VhostUserRequestClient
{
    /// <summary>SET_VRING_NUM (8): the size of a ring.</summary>
    /// <param name="index">The ring.</param>
    /// <param name="size">Descriptors.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetVringNumAsync(uint index, uint size, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetVringNum, new VhostUserVringState(index, size), descriptor: null, cancellationToken);

    /// <summary>SET_VRING_ADDR (9): where the three parts of a ring lie, as front-end user addresses.</summary>
    /// <param name="address">Index, flags (bit 0: log writes) and addresses.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetVringAddrAsync(VhostUserVringAddress address, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetVringAddr, address, descriptor: null, cancellationToken);

    /// <summary>SET_VRING_BASE (10): where processing begins.</summary>
    /// <param name="index">The ring.</param>
    /// <param name="value">The base in wire form; see <see cref="VringBase"/>.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetVringBaseAsync(uint index, uint value, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetVringBase, new VhostUserVringState(index, value), descriptor: null, cancellationToken);

    /// <summary>GET_VRING_BASE (11): stops a ring, after the back-end has drained it, and tells where to go on.</summary>
    /// <param name="index">The ring.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The reply as it came.</returns>
    public ValueTask<VhostUserVringState> GetVringBaseAsync(uint index, CancellationToken cancellationToken = default) =>
        QueryAsync<VhostUserVringState>(VhostUserRequest.GetVringBase, PayloadBytes.Of(new VhostUserVringState(index, 0)), cancellationToken);

    /// <summary>GET_VRING_BASE_SKIP_DRAIN (45): like GET_VRING_BASE, without waiting for requests in flight: they stay in the in-flight
    /// area.</summary>
    /// <param name="index">The ring.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The reply as it came.</returns>
    public ValueTask<VhostUserVringState> GetVringBaseSkipDrainAsync(uint index, CancellationToken cancellationToken = default) =>
        QueryAsync<VhostUserVringState>(VhostUserRequest.GetVringBaseSkipDrain, PayloadBytes.Of(new VhostUserVringState(index, 0)), cancellationToken);

    /// <summary>SET_VRING_KICK (12): the eventfd of the driver's notifications; starts the ring.</summary>
    /// <param name="index">The ring, 0 to 255.</param>
    /// <param name="descriptor">Borrowed. Null: none, the back-end polls.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetVringKickAsync(int index, SafeHandle? descriptor, CancellationToken cancellationToken = default) =>
        VringFileAsync(VhostUserRequest.SetVringKick, index, descriptor, cancellationToken);

    /// <summary>SET_VRING_CALL (13): the eventfd of the device's notifications; may be replaced while the ring runs.</summary>
    /// <param name="index">The ring, 0 to 255.</param>
    /// <param name="descriptor">Borrowed. Null: none, the driver wants no notifications.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetVringCallAsync(int index, SafeHandle? descriptor, CancellationToken cancellationToken = default) =>
        VringFileAsync(VhostUserRequest.SetVringCall, index, descriptor, cancellationToken);

    /// <summary>SET_VRING_ERR (14): the eventfd by which the back-end reports a broken ring.</summary>
    /// <param name="index">The ring, 0 to 255.</param>
    /// <param name="descriptor">Borrowed. Null: none.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetVringErrAsync(int index, SafeHandle? descriptor, CancellationToken cancellationToken = default) =>
        VringFileAsync(VhostUserRequest.SetVringErr, index, descriptor, cancellationToken);

    /// <summary>SET_VRING_ENABLE (18): needs bit 30 acknowledged.</summary>
    /// <param name="index">The ring.</param>
    /// <param name="enabled">True to enable.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetVringEnableAsync(uint index, bool enabled, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetVringEnable, new VhostUserVringState(index, enabled ? 1u : 0u), descriptor: null, cancellationToken);

    /// <summary>SET_VRING_ENDIAN (23): the byte order of a legacy ring. Needs CROSS_ENDIAN.</summary>
    /// <param name="index">The ring.</param>
    /// <param name="bigEndian">True for big-endian.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetVringEndianAsync(uint index, bool bigEndian, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetVringEndian, new VhostUserVringState(index, bigEndian ? 1u : 0u), descriptor: null, cancellationToken);

    /// <summary>VRING_KICK (35): a kick as a message. Needs INBAND_NOTIFICATIONS.</summary>
    /// <param name="index">The ring.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask VringKickAsync(uint index, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.VringKick, new VhostUserVringState(index, 0), descriptor: null, cancellationToken);

    private ValueTask VringFileAsync(VhostUserRequest request, int index, SafeHandle? descriptor, CancellationToken cancellationToken) =>
        RequestAsync(request, VhostUserVringDescriptor.Create(index, noDescriptor: descriptor is null), descriptor, cancellationToken);
}
