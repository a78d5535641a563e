using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

public sealed partial class VhostUserRequestClient
{
    /// <summary>GET_FEATURES (1): the virtio features the back-end offers, bits 26 (log) and 30 (protocol features) included.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The feature word as it came.</returns>
    public async ValueTask<VirtioFeatures> GetFeaturesAsync(CancellationToken cancellationToken = default) =>
        (VirtioFeatures)await QueryU64Async(VhostUserRequest.GetFeatures, cancellationToken).ConfigureAwait(false);

    /// <summary>SET_FEATURES (2): acknowledges features. Leaving bit 30 out takes the protocol features back with several back-ends.</summary>
    /// <param name="features">The word to send.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetFeaturesAsync(VirtioFeatures features, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetFeatures, new VhostUserU64((ulong)features), descriptor: null, cancellationToken);

    /// <summary>SET_OWNER (3): begins the session.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetOwnerAsync(CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetOwner, default, default, cancellationToken);

    /// <summary>RESET_OWNER (4): deprecated by the specification in favour of RESET_DEVICE; some back-ends end the connection.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask ResetOwnerAsync(CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.ResetOwner, default, default, cancellationToken);

    /// <summary>GET_PROTOCOL_FEATURES (15): legal once GET_FEATURES offered bit 30.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The word as it came, unknown bits included.</returns>
    public async ValueTask<VhostUserProtocolFeatures> GetProtocolFeaturesAsync(CancellationToken cancellationToken = default) =>
        (VhostUserProtocolFeatures)await QueryU64Async(VhostUserRequest.GetProtocolFeatures, cancellationToken).ConfigureAwait(false);

    /// <summary>SET_PROTOCOL_FEATURES (16): acknowledges protocol features. Must not itself ask for an acknowledgement the first time.</summary>
    /// <param name="features">The word to send.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetProtocolFeaturesAsync(VhostUserProtocolFeatures features, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetProtocolFeatures, new VhostUserU64((ulong)features), descriptor: null, cancellationToken);

    /// <summary>GET_QUEUE_NUM (17): how many queues (with some network back-ends: pairs) the back-end serves. Needs MQ.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The number as it came.</returns>
    public ValueTask<ulong> GetQueueNumAsync(CancellationToken cancellationToken = default) =>
        QueryU64Async(VhostUserRequest.GetQueueNum, cancellationToken);

    /// <summary>SET_BACKEND_REQ_FD (21): hands over the back-end's end of a connected stream socket for its own requests. Needs
    /// BACKEND_REQ.</summary>
    /// <param name="socket">The back-end's end; borrowed, may be closed after the call.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetBackendReqFdAsync(SafeHandle socket, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(socket);
        return RequestAsync(VhostUserRequest.SetBackendReqFd, default, Descriptors(socket), cancellationToken);
    }

    /// <summary>RESET_DEVICE (34): disables all rings and returns the device to its initial state. Needs RESET_DEVICE.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask ResetDeviceAsync(CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.ResetDevice, default, default, cancellationToken);

    /// <summary>SET_STATUS (39): the virtio device status; 0 resets. Needs STATUS.</summary>
    /// <param name="status">The status byte in the low eight bits.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetStatusAsync(ulong status, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SetStatus, new VhostUserU64(status), descriptor: null, cancellationToken);

    /// <summary>GET_STATUS (40): the virtio device status. Needs STATUS.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The word as it came; the status is its low byte.</returns>
    public ValueTask<ulong> GetStatusAsync(CancellationToken cancellationToken = default) =>
        QueryU64Async(VhostUserRequest.GetStatus, cancellationToken);
}
