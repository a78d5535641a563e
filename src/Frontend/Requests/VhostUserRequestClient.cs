using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The raw layer: one method per front-end message (ids 1 to 45), without opinions. Nothing is checked against what was negotiated,
/// no order is kept, and <see cref="CallAsync(VhostUserHeader, ReadOnlyMemory{byte}, ReadOnlyMemory{SafeHandle}, CancellationToken)"/>
/// sends any header with any payload. For testers and for back-ends that need something unusual;
/// <see cref="VhostUserFrontend"/> is the layer that knows the order.
/// </summary>
/// <remarks>
/// <para>Safe for use from several threads: requests go out one at a time, in the order of the calls. Waiting for one's turn can be cancelled
/// freely; after the bytes have left, a cancellation or a time-out ends the connection, because replies carry no id and are matched by order.</para>
/// <para>Every method may throw <see cref="VhostUserRejectedException"/> (the acknowledgement was not 0), <see cref="VhostUserProtocolException"/>
/// (the reply breaks the protocol), <see cref="VhostUserTimeoutException"/> and <see cref="VhostUserDisconnectedException"/>.</para>
/// <para>Descriptors in parameters are borrowed for the call; descriptors returned belong to the caller.</para>
/// </remarks>
public sealed partial class VhostUserRequestClient
{
    private readonly RequestChannel _channel;
    private volatile AcknowledgementPolicy _acknowledgements;

    /// <summary>Puts the message methods on a channel. The channel is borrowed: whoever made it starts and disposes it.</summary>
    /// <param name="channel">The asking end of the main channel.</param>
    public VhostUserRequestClient(RequestChannel channel)
    {
        ArgumentNullException.ThrowIfNull(channel);
        _channel = channel;
    }

    /// <summary>Which requests ask for an acknowledgement. A session sets it right after REPLY_ACK is acknowledged; a tester may set
    /// anything.</summary>
    public AcknowledgementPolicy Acknowledgements
    {
        get => _acknowledgements;
        set => _acknowledgements = value;
    }

    /// <summary>Sends any header with any payload and does not wait for an answer. Lies are sent as they are.</summary>
    /// <param name="header">Sent unchanged; its payload size need not be that of <paramref name="payload"/>.</param>
    /// <param name="payload">The bytes after the header.</param>
    /// <param name="descriptors">Sent with the first byte; borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the first byte has left.</param>
    /// <returns>Completes when the bytes are with the kernel.</returns>
    public ValueTask SendAsync(
        VhostUserHeader header,
        ReadOnlyMemory<byte> payload = default,
        ReadOnlyMemory<SafeHandle> descriptors = default,
        CancellationToken cancellationToken = default) =>
        _channel.SendAsync(header, payload, descriptors, cancellationToken);

    /// <summary>Sends any header with any payload and waits for the reply, which is checked for shape alone.</summary>
    /// <param name="header">Sent unchanged.</param>
    /// <param name="payload">The bytes after the header.</param>
    /// <param name="descriptors">Sent with the first byte; borrowed.</param>
    /// <param name="cancellationToken">Cancels freely until the first byte has left; afterwards it ends the connection.</param>
    /// <returns>The reply; the caller disposes it.</returns>
    public ValueTask<VhostUserMessage> CallAsync(
        VhostUserHeader header,
        ReadOnlyMemory<byte> payload = default,
        ReadOnlyMemory<SafeHandle> descriptors = default,
        CancellationToken cancellationToken = default) =>
        _channel.CallAsync(header, payload, descriptors, cancellationToken);

    /// <summary>A request without a reply of its own: acknowledged when the policy says so.</summary>
    private async ValueTask RequestAsync(
        VhostUserRequest request, ReadOnlyMemory<byte> payload, ReadOnlyMemory<SafeHandle> descriptors, CancellationToken cancellationToken)
    {
        if (_acknowledgements == AcknowledgementPolicy.Never)
        {
            await _channel.SendAsync(
                VhostUserHeader.ForRequest(request, payload.Length), payload, descriptors, cancellationToken).ConfigureAwait(false);
            return;
        }

        await AcknowledgedAsync(request, payload, descriptors, cancellationToken).ConfigureAwait(false);
    }

    private ValueTask RequestAsync<TPayload>(VhostUserRequest request, TPayload payload, SafeHandle? descriptor, CancellationToken cancellationToken)
        where TPayload : struct, IVhostUserPayload<TPayload> =>
        RequestAsync(request, PayloadBytes.Of(payload), Descriptors(descriptor), cancellationToken);

    /// <summary>Asks with NEED_REPLY, whatever the policy, and throws unless the acknowledgement is 0.</summary>
    private async ValueTask AcknowledgedAsync(
        VhostUserRequest request, ReadOnlyMemory<byte> payload, ReadOnlyMemory<SafeHandle> descriptors, CancellationToken cancellationToken)
    {
        VhostUserHeader header = VhostUserHeader.ForRequest(request, payload.Length, needReply: true);
        using VhostUserMessage reply = await _channel.CallAsync(header, payload, descriptors, cancellationToken).ConfigureAwait(false);
        ThrowIfRefused(request, Decode<VhostUserU64>(request, reply).Value);
    }

    /// <summary>A request with a reply of its own.</summary>
    private ValueTask<VhostUserMessage> QueryAsync(
        VhostUserRequest request, ReadOnlyMemory<byte> payload, SafeHandle? descriptor, CancellationToken cancellationToken)
    {
        bool needReply = _acknowledgements == AcknowledgementPolicy.EveryRequest;
        return _channel.CallAsync(
            VhostUserHeader.ForRequest(request, payload.Length, needReply), payload, Descriptors(descriptor), cancellationToken);
    }

    private async ValueTask<TReply> QueryAsync<TReply>(VhostUserRequest request, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken)
        where TReply : struct, IVhostUserPayload<TReply>
    {
        using VhostUserMessage reply = await QueryAsync(request, payload, descriptor: null, cancellationToken).ConfigureAwait(false);
        return Decode<TReply>(request, reply);
    }

    private async ValueTask<ulong> QueryU64Async(VhostUserRequest request, CancellationToken cancellationToken) =>
        (await QueryAsync<VhostUserU64>(request, default, cancellationToken).ConfigureAwait(false)).Value;

    private static TReply Decode<TReply>(VhostUserRequest request, VhostUserMessage reply)
        where TReply : struct, IVhostUserPayload<TReply> =>
        TReply.TryRead(reply.Payload, out TReply value) ? value : throw Malformed(request, reply);

    private static VhostUserProtocolException Malformed(VhostUserRequest request, VhostUserMessage reply) =>
        new(VhostUserViolation.PayloadTooShort, $"{NameOf(request)}: the {reply.Payload.Length} bytes of the reply are not an answer to it.")
        {
            RequestCode = (uint)request,
        };

    private static void ThrowIfRefused(VhostUserRequest request, ulong value)
    {
        if (value != 0)
        {
            throw new VhostUserRejectedException(
                $"{NameOf(request)}: the back-end acknowledged with {value} (0x{value:x}); 0 means done, anything else refused.", value)
            {
                RequestCode = (uint)request,
            };
        }
    }

    private static ReadOnlyMemory<SafeHandle> Descriptors(SafeHandle? descriptor) => descriptor is null ? default : new[] { descriptor };

    private static string NameOf(VhostUserRequest request) => MessageContracts.NameOf(VhostUserChannel.Main, (uint)request);
}
