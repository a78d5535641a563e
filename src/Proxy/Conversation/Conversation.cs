using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>Keeps count of what a front-end and a back-end have said to each other: which request a reply answers, and what was agreed on.</summary>
/// <remarks>Threading: one thread at a time.</remarks>
internal sealed class Conversation
{
    /// <summary>Times that are kept for <see cref="ProxyLatency"/>.</summary>
    private const int MostTimes = 1 << 16;

    private readonly Dictionary<VhostUserChannel, OpenRequests> _open = new()
    {
        [VhostUserChannel.Main] = new(),
        [VhostUserChannel.Backend] = new(),
        [VhostUserChannel.Gpu] = new(),
    };

    private readonly Agreement _agreement = new();
    private readonly List<TimeSpan> _held = [];
    private long _fromFrontEnd;
    private long _fromBackEnd;
    private long _refused;

    /// <summary>A message has come: what it answers, and what is different since.</summary>
    internal ProxyMessage Note(ProxyMessage message)
    {
        bool isFrontEnd = message.From == ProxySide.FrontEnd;
        (_fromFrontEnd, _fromBackEnd) = isFrontEnd ? (_fromFrontEnd + 1, _fromBackEnd) : (_fromFrontEnd, _fromBackEnd + 1);
        bool asks = isFrontEnd == (message.Channel == VhostUserChannel.Main);
        OpenRequests open = _open[message.Channel];
        if (asks)
        {
            bool isMain = message.Channel == VhostUserChannel.Main;
            if (!isMain || !_agreement.IsConfirmation(message))
                open.Add(message, _agreement.Negotiated, _agreement.IsPostcopy);
            return isMain ? message with { Change = _agreement.Requested(message) } : message;
        }

        if (open.Take(message.Header) is not { } request)
            return message;
        if (IsRefusal(message))
            _refused++;
        string change = message.Channel == VhostUserChannel.Main ? _agreement.Answered(message) : "";
        return message with { Answers = request.Number, RoundTrip = message.At - request.At, Change = change };
    }

    /// <summary>It has left.</summary>
    internal void Passed(ProxyMessage message)
    {
        if (message.Fault.Length == 0 && _held.Count < MostTimes)
            _held.Add(message.Held);
    }

    internal ProxySummary Summarize(int session, string end, IReadOnlyList<string> channelEnds) => new()
    {
        Session = session,
        End = end,
        ChannelEnds = channelEnds,
        Negotiated = _agreement.Negotiated,
        Rings = _agreement.Rings,
        Memory = _agreement.Memory,
        Messages = (_fromFrontEnd, _fromBackEnd),
        Refused = _refused,
        Held = ProxyLatency.Of(_held),
    };

    /// <summary>An acknowledgement that is not 0. A reply of the message's own is none.</summary>
    private static bool IsRefusal(ProxyMessage reply) =>
        MessageContracts.TryGet(reply.Channel, reply.Header.Request, out MessageContract? contract)
        && contract.Reply != ReplyRule.Always
        && VhostUserU64.TryRead(reply.Payload.Span, out VhostUserU64 result) && reply.Payload.Length == VhostUserU64.Size
        && result.Value != 0;
}
