using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

public sealed partial class VhostUserRequestClient
{
    /// <summary>GET_CONFIG (24): reads a window of the configuration space. Needs CONFIG. The reply is not compared with the request.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="size">Bytes; the request carries as many zeroes.</param>
    /// <param name="flags">0 in practice.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>What the back-end answered.</returns>
    public async ValueTask<VhostUserConfigReply> GetConfigAsync(
        uint offset, uint size, VhostUserConfigFlags flags = default, CancellationToken cancellationToken = default)
    {
        byte[] payload = new byte[checked(VhostUserConfig.HeaderSize + (int)size)];
        new VhostUserConfig(offset, size, flags).Write(payload);
        using VhostUserMessage reply = await QueryAsync(
            VhostUserRequest.GetConfig, payload, descriptor: null, cancellationToken).ConfigureAwait(false);
        if (reply.Payload.IsEmpty)
            return default;
        if (!VhostUserConfig.TryRead(reply.Payload, out VhostUserConfig header))
            throw Malformed(VhostUserRequest.GetConfig, reply);
        return new VhostUserConfigReply(header, reply.Payload[VhostUserConfig.HeaderSize..].ToArray());
    }

    /// <summary>SET_CONFIG (25): writes a window of the configuration space. Needs CONFIG.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="window">The bytes to write.</param>
    /// <param name="flags">0: only writable fields; 1: all fields, for live migration.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetConfigAsync(
        uint offset, ReadOnlyMemory<byte> window, VhostUserConfigFlags flags = default, CancellationToken cancellationToken = default)
    {
        byte[] payload = new byte[VhostUserConfig.HeaderSize + window.Length];
        new VhostUserConfig(offset, (uint)window.Length, flags).Write(payload);
        window.CopyTo(payload.AsMemory(VhostUserConfig.HeaderSize));
        return RequestAsync(VhostUserRequest.SetConfig, payload, default, cancellationToken);
    }

    /// <summary>SEND_RARP (19): asks for a RARP broadcast after a migration. Needs RARP.</summary>
    /// <param name="macAddress">The MAC address in the six low-address bytes.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SendRarpAsync(ulong macAddress, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.SendRarp, new VhostUserU64(macAddress), descriptor: null, cancellationToken);

    /// <summary>NET_SET_MTU (20): the MTU of the guest's network device. Needs NET_MTU.</summary>
    /// <param name="mtu">Bytes.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask NetSetMtuAsync(ulong mtu, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.NetSetMtu, new VhostUserU64(mtu), descriptor: null, cancellationToken);

    /// <summary>CREATE_CRYPTO_SESSION (26). Needs CRYPTO_SESSION. Three layouts exist (632 and 1072 bytes), so both ways are bytes.</summary>
    /// <param name="session">The parameters in the layout of the peer.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The same structure with the session id; a negative id is an error.</returns>
    public async ValueTask<byte[]> CreateCryptoSessionAsync(ReadOnlyMemory<byte> session, CancellationToken cancellationToken = default)
    {
        using VhostUserMessage reply = await QueryAsync(
            VhostUserRequest.CreateCryptoSession, session, descriptor: null, cancellationToken).ConfigureAwait(false);
        return reply.Payload.ToArray();
    }

    /// <summary>CLOSE_CRYPTO_SESSION (27). Needs CRYPTO_SESSION.</summary>
    /// <param name="sessionId">The id from CREATE_CRYPTO_SESSION.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask CloseCryptoSessionAsync(ulong sessionId, CancellationToken cancellationToken = default) =>
        RequestAsync(VhostUserRequest.CloseCryptoSession, new VhostUserU64(sessionId), descriptor: null, cancellationToken);

    /// <summary>GET_INFLIGHT_FD (31): asks for the area that records requests in flight. Needs INFLIGHT_SHMFD.</summary>
    /// <param name="wanted">Number of queues and queue size; size and offset 0.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The area and its memory.</returns>
    public async ValueTask<VhostUserInflightReply> GetInflightFdAsync(VhostUserInflight wanted, CancellationToken cancellationToken = default)
    {
        using VhostUserMessage reply = await QueryAsync(
            VhostUserRequest.GetInflightFd, PayloadBytes.Of(wanted), descriptor: null, cancellationToken).ConfigureAwait(false);
        VhostUserInflight area = Decode<VhostUserInflight>(VhostUserRequest.GetInflightFd, reply);
        if (area.MmapSize != 0 && reply.DescriptorCount == 0)
            throw MissingDescriptor(VhostUserRequest.GetInflightFd, $"the memory of an area of {area.MmapSize} bytes");
        return new VhostUserInflightReply(area, TakeOptional(reply));
    }

    /// <summary>SET_INFLIGHT_FD (32): gives an area back, before the rings start. Needs INFLIGHT_SHMFD.</summary>
    /// <param name="area">The area as GET_INFLIGHT_FD described it.</param>
    /// <param name="descriptor">Its memory; borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask SetInflightFdAsync(VhostUserInflight area, SafeHandle descriptor, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        return RequestAsync(VhostUserRequest.SetInflightFd, area, descriptor, cancellationToken);
    }

    /// <summary>GPU_SET_SOCKET (33): hands over the back-end's end of the GPU channel.</summary>
    /// <param name="socket">Borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when sent, or acknowledged where the policy asks for it.</returns>
    public ValueTask GpuSetSocketAsync(SafeHandle socket, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(socket);
        return RequestAsync(VhostUserRequest.GpuSetSocket, default, Descriptors(socket), cancellationToken);
    }

    /// <summary>GET_SHARED_OBJECT (41): fetches an object the back-end registered. Needs SHARED_OBJECT. A reply of any size is accepted.</summary>
    /// <param name="id">The object.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Its dma-buf, owned by the caller; null when the back-end has no such object.</returns>
    public async ValueTask<SafeFileHandle?> GetSharedObjectAsync(Guid id, CancellationToken cancellationToken = default)
    {
        using VhostUserMessage reply = await QueryAsync(
            VhostUserRequest.GetSharedObject, PayloadBytes.Of(new VhostUserSharedObject(id)), descriptor: null, cancellationToken).ConfigureAwait(false);
        return TakeOptional(reply);
    }

    /// <summary>SET_DEVICE_STATE_FD (42): begins a transfer of the device's internal state. Needs DEVICE_STATE and all rings stopped.</summary>
    /// <param name="transfer">Direction and phase.</param>
    /// <param name="descriptor">The back-end's end of a pipe; borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>What the back-end answered; the error is not turned into an exception.</returns>
    public async ValueTask<DeviceStateTransfer> SetDeviceStateFdAsync(
        VhostUserDeviceState transfer, SafeHandle descriptor, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        using VhostUserMessage reply = await QueryAsync(
            VhostUserRequest.SetDeviceStateFd, PayloadBytes.Of(transfer), descriptor, cancellationToken).ConfigureAwait(false);
        return new DeviceStateTransfer(Decode<VhostUserDeviceStateReply>(VhostUserRequest.SetDeviceStateFd, reply), TakeOptional(reply));
    }

    /// <summary>CHECK_DEVICE_STATE (43): how the transfer ended. Needs DEVICE_STATE.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>0 when all of the state was transferred.</returns>
    public ValueTask<ulong> CheckDeviceStateAsync(CancellationToken cancellationToken = default) =>
        QueryU64Async(VhostUserRequest.CheckDeviceState, cancellationToken);

    /// <summary>GET_SHMEM_CONFIG (44): the shared memory regions of the device. Needs SHMEM.</summary>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>The sizes in bytes by region id (256 entries, 0: no such region), as they came.</returns>
    public async ValueTask<ulong[]> GetShmemConfigAsync(CancellationToken cancellationToken = default)
    {
        using VhostUserMessage reply = await QueryAsync(
            VhostUserRequest.GetShmemConfig, default, descriptor: null, cancellationToken).ConfigureAwait(false);
        return DecodeShmemConfig(reply);
    }

    private static ulong[] DecodeShmemConfig(VhostUserMessage reply)
    {
        if (!VhostUserShmemConfig.TryRead(reply.Payload, out VhostUserShmemConfig config))
            throw Malformed(VhostUserRequest.GetShmemConfig, reply);
        ulong[] sizes = new ulong[VhostUserShmemConfig.MaxRegions];
        for (int id = 0; id < sizes.Length; id++)
            sizes[id] = config[(byte)id];
        return sizes;
    }
}
