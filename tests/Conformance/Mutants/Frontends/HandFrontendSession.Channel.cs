using System.Net.Sockets;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

// The channel on which the back-end may ask for things. Nothing is done for it here, and each request is answered where it wants that.
internal sealed partial class HandFrontendSession
{
    private VhostUserConnection? _channel;
    private Task _serving = Task.CompletedTask;
    private volatile bool _channelCrash;
    private volatile bool _channelEnded;
    private uint _announced;

    private async Task HandOverChannelAsync()
    {
        using TempSocket path = new();
        await using VhostUserListener listener = VhostUserListener.Listen(path.Path, new() { Connection = new() { MostPayload = Announced } });
        using Socket theirs = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await theirs.ConnectAsync(new UnixDomainSocketEndPoint(path.Path), _stop);
        _channel = await listener.AcceptAsync(_stop);
        await TellAsync(VhostUserRequest.SetBackendReqFd, [], theirs.SafeHandle);
        _serving = ServeChannelAsync(_channel);
    }

    private async Task ServeChannelAsync(VhostUserConnection channel)
    {
        int asked = 0;
        try
        {
            while (await channel.ReceiveAsync(_stop) is { } request)
            {
                using (request)
                    await AnswerAsync(channel, request.Header, ++asked);
            }

            _channelEnded = true;
        }
        catch (VhostUserException broken)
        {
            _channelCrash |= _sin == FrontendSin.DiesOfBrokenChannel || (broken is VhostUserProtocolException { Violation: var violation } && DiesOf(violation));
        }
        catch (Exception e) when (e is HandLeavesException or ObjectDisposedException or OperationCanceledException or IOException)
        {
        }

        await channel.DisposeAsync();
    }

    private bool DiesOf(VhostUserViolation violation) => _sin switch
    {
        FrontendSin.DiesOfHugeRequest => violation == VhostUserViolation.PayloadTooLong && _announced == (uint)VhostUserBackendRequest.ConfigChangeMsg,
        FrontendSin.DiesOfJunk => violation == VhostUserViolation.PayloadTooLong && _announced > byte.MaxValue,
        FrontendSin.DiesOfHalfRequest => violation == VhostUserViolation.TruncatedMessage,
        _ => false,
    };

    private int Announced(uint request)
    {
        _announced = request;
        return VhostUserHeader.MaxPayloadSize;
    }

    private async Task AnswerAsync(VhostUserConnection channel, VhostUserHeader request, int asked)
    {
        bool known = request.Request is (uint)VhostUserBackendRequest.ConfigChangeMsg;
        _channelCrash |= _sin switch
        {
            FrontendSin.DiesOfUnknownRequest => request.Request == 200,
            FrontendSin.DiesOfOtherVersionRequest => (request.Flags & VhostUserHeaderFlags.VersionMask) != VhostUserHeaderFlags.Version1,
            FrontendSin.DiesOfUnwantedReply => request.IsReply,
            FrontendSin.DiesOfStorm => asked > 500,
            FrontendSin.DiesOfHostNotifier => request.Request == (uint)VhostUserBackendRequest.VringHostNotifierMsg,
            _ => false,
        };
        Require((request.Flags & ~VhostUserHeaderFlags.NeedReply) == VhostUserHeaderFlags.Version1, "requests of version 1");
        if (!request.NeedsReply) return;
        byte[] result = U64(known || _sin == FrontendSin.GrantsUnknownRequest ? 0UL : 1);
        await channel.SendAsync(request.AsReply(result.Length), result, default, _stop);
    }

    private async ValueTask CloseChannelAsync()
    {
        if (_channel is null) return;
        await _channel.DisposeAsync();
        await _serving;
        if (_channelCrash) throw new HandCrashException();
    }
}
