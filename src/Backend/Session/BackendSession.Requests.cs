using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

// What the application asks of the front-end (VhostUserBackendRequests). Any thread; never on the session's own, which the front-end may wait for.
internal sealed partial class BackendSession
{
    internal async ValueTask AskAsync<TPayload>(VhostUserBackendRequest request, TPayload payload, SafeHandle? descriptor, CancellationToken cancellationToken)
        where TPayload : struct, IVhostUserPayload<TPayload>
    {
        RequestChannel channel = RequireChannel(request, descriptor is not null);
        byte[] bytes = PayloadBytes.Of(payload);
        ReadOnlyMemory<SafeHandle> descriptors = descriptor is null ? default : new[] { descriptor };
        if (!_state.Protocol.HasFlag(VhostUserProtocolFeatures.ReplyAck))
        {
            await channel.SendAsync(VhostUserHeader.ForRequest(request, bytes.Length), bytes, descriptors, cancellationToken).ConfigureAwait(false);
            return;
        }

        VhostUserHeader header = VhostUserHeader.ForRequest(request, bytes.Length, needReply: true);
        using VhostUserMessage reply = await channel.CallAsync(header, bytes, descriptors, cancellationToken).ConfigureAwait(false);
        if (AnswerOf(reply) is not 0 and var answer)
        {
            throw new VhostUserRejectedException($"{NameOf(request)}: the front-end acknowledged with {answer}; 0 means done, anything else refused.", answer)
            {
                RequestCode = (uint)request,
            };
        }
    }

    /// <summary>Its answer comes whether acknowledgements are negotiated or not.</summary>
    internal async ValueTask<SafeFileHandle?> FindSharedObjectAsync(Guid id, CancellationToken cancellationToken)
    {
        const VhostUserBackendRequest Request = VhostUserBackendRequest.SharedObjectLookup;
        RequestChannel channel = RequireChannel(Request, withDescriptor: false);
        byte[] bytes = PayloadBytes.Of(new VhostUserSharedObject(id));
        VhostUserHeader header = VhostUserHeader.ForRequest(Request, bytes.Length, _state.Protocol.HasFlag(VhostUserProtocolFeatures.ReplyAck));
        using VhostUserMessage reply = await channel.CallAsync(header, bytes, default, cancellationToken).ConfigureAwait(false);
        return AnswerOf(reply) == 0 && reply.DescriptorCount > 0 ? reply.TakeDescriptor(0) : null;
    }

    private RequestChannel RequireChannel(VhostUserBackendRequest request, bool withDescriptor)
    {
        VhostUserProtocolFeatures needed = MessageContracts.TryGet(request, out MessageContract? contract) ? contract.RequiredProtocolFeatures : VhostUserProtocolFeatures.BackendReq;
        if (withDescriptor)
            needed |= VhostUserProtocolFeatures.BackendSendFd;
        lock (_channelGate)
        {
            if ((needed & ~_state.Protocol) is not 0 and var missing)
            {
                throw new VhostUserFeatureException(
                    $"{NameOf(request)} needs {FeatureNames.Describe(needed)}; not negotiated: {FeatureNames.Describe(missing)}.", VirtioFeatures.None, missing)
                {
                    RequestCode = (uint)request,
                };
            }

            if (_channel is null)
                throw new VhostUserDisconnectedException($"{NameOf(request)}: the front-end has given no channel for requests, or it has ended.") { RequestCode = (uint)request };
            return IsSuspended
                ? throw new InvalidOperationException($"{NameOf(request)}: no queue is started; a suspended device asks nothing of its front-end.")
                : _channel;
        }
    }

    private static ulong AnswerOf(VhostUserMessage reply) => VhostUserU64.TryRead(reply.Payload, out VhostUserU64 value) ? value.Value : ulong.MaxValue;

    private static string NameOf(VhostUserBackendRequest request) => MessageContracts.NameOf(VhostUserChannel.Backend, (uint)request);
}
