using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <content>What an honest back-end answers.</content>
internal sealed partial class FrontendPeer
{
    private readonly Dictionary<uint, DeviceRing> _rings = [];
    private readonly Dictionary<uint, RingDescription> _descriptions = [];
    private readonly List<GuestMemoryRegion> _regions = [];
    private LentMemory? _memory;
    private ulong _status;

    /// <summary>How many requests were served in all rings.</summary>
    public int Served { get; private set; }

    /// <summary>The rings that run, the first one first.</summary>
    public IReadOnlyList<DeviceRing> Rings
    {
        get
        {
            lock (_gate)
                return [.. _rings.Values.OrderBy(static ring => ring.Index)];
        }
    }

    /// <summary>Sends a reply: the header says what it is a reply to, the payload is as given.</summary>
    public Task ReplyAsync(ReceivedMessage request, byte[] payload, params SafeHandle[] descriptors) =>
        _main.SendAsync(request.Header.AsReply(payload.Length), payload, descriptors);

    /// <summary>Acknowledges a message where it asks for it.</summary>
    public Task AcknowledgeAsync(ReceivedMessage message, ulong result = 0) => IsAnswered(message)
        ? ReplyAsync(message, BackendPeer.U64(result))
        : Task.CompletedTask;

    /// <summary>Does what an honest back-end does about a message.</summary>
    public async Task AnswerAsync(ReceivedMessage message)
    {
        if (OwnReplyTo(message) is { } reply)
        {
            Offer(message);
            await ReplyAsync(message, reply).ConfigureAwait(false);
            return;
        }

        Take(message);
        if (message.Header.Request == (uint)VhostUserRequest.SetLogBase)
            await ReplyAsync(message, []).ConfigureAwait(false);
        else
            await AcknowledgeAsync(message).ConfigureAwait(false);
    }

    private void Offer(ReceivedMessage question)
    {
        if (question.Header.Request == (uint)VhostUserRequest.GetFeatures)
            State = State with { Offered = Script.Features };
        else if (question.Header.Request == (uint)VhostUserRequest.GetProtocolFeatures)
            State = State with { OfferedProtocol = Script.Protocol };
    }

    /// <summary>What an honest back-end replies; null: it acknowledges at most.</summary>
    public byte[]? OwnReplyTo(ReceivedMessage message) => (VhostUserRequest)message.Header.Request switch
    {
        VhostUserRequest.GetFeatures => BackendPeer.U64((ulong)Script.Features),
        VhostUserRequest.GetProtocolFeatures => BackendPeer.U64((ulong)Script.Protocol),
        VhostUserRequest.GetQueueNum => BackendPeer.U64(Script.Queues),
        VhostUserRequest.GetMaxMemSlots => BackendPeer.U64(Script.Slots),
        VhostUserRequest.GetStatus => BackendPeer.U64(_status),
        VhostUserRequest.GetConfig => ConfigReply(message.Payload),
        VhostUserRequest.GetVringBase => BaseReply(message.VringState.Index),
        VhostUserRequest.GetInflightFd => new byte[VhostUserInflight.Size],
        _ => null,
    };

    private byte[] ConfigReply(byte[] request)
    {
        if (!VhostUserConfig.TryRead(request, out VhostUserConfig window) || window.Offset + (ulong)window.Size > (ulong)Script.Config.Length)
            return [];
        byte[] reply = new byte[VhostUserConfig.HeaderSize + window.Size];
        window.Write(reply.AsSpan(0, VhostUserConfig.HeaderSize));
        Script.Config.AsSpan((int)window.Offset, (int)window.Size).CopyTo(reply.AsSpan(VhostUserConfig.HeaderSize));
        return reply;
    }

    private byte[] BaseReply(uint index)
    {
        lock (_gate)
        {
            uint stopped = _rings.Remove(index, out DeviceRing? ring) ? ring.Base : DescriptionOf(index).Base;
            _descriptions[index] = DescriptionOf(index) with { Base = stopped, HasKick = false };
            return BackendPeer.RingState(index, stopped);
        }
    }

    private bool IsAnswered(ReceivedMessage message) =>
        MessageContracts.TryGet((VhostUserRequest)message.Header.Request, out MessageContract? contract) && contract.IsAnswered(message.Header, State);

    private void Take(ReceivedMessage message)
    {
        switch ((VhostUserRequest)message.Header.Request)
        {
            case VhostUserRequest.SetFeatures:
                State = State with { Offered = Script.Features, Features = (VirtioFeatures)message.U64 };
                break;
            case VhostUserRequest.SetProtocolFeatures:
                State = State with { Offered = Script.Features, OfferedProtocol = Script.Protocol, Protocol = (VhostUserProtocolFeatures)message.U64 };
                break;
            case VhostUserRequest.SetStatus:
                _status = message.U64;
                break;
            case VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg or VhostUserRequest.RemMemReg:
                TakeMemory(message);
                break;
            case VhostUserRequest.SetVringNum or VhostUserRequest.SetVringBase or VhostUserRequest.SetVringAddr or VhostUserRequest.SetVringKick
                or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringEnable:
                TakeRing(message);
                break;
            default:
                break;
        }
    }

    private RingDescription DescriptionOf(uint index) => _descriptions.GetValueOrDefault(index, RingDescription.None);
}
