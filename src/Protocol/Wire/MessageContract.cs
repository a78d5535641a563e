namespace Vhost.Protocol;

/// <summary>What the protocol demands of one message: one row of <see cref="MessageContracts"/>.</summary>
public sealed record MessageContract
{
    /// <summary>The channel the request travels on.</summary>
    public required VhostUserChannel Channel { get; init; }

    /// <summary>The request code in the numbering of the channel.</summary>
    public required uint Code { get; init; }

    /// <summary>The specification's name, for example <c>VHOST_USER_SET_VRING_NUM</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Where the specification describes it.</summary>
    public required string Section { get; init; }

    /// <summary>The payload's layout in words, for documents and decoders.</summary>
    public required PayloadLayout Layout { get; init; }

    /// <summary>Sizes the payload may have.</summary>
    public required PayloadRange Payload { get; init; }

    /// <summary>Sizes the payload may have when XEN_MMAP is negotiated; null when the message does not depend on it.</summary>
    public PayloadRange? XenPayload { get; init; }

    /// <summary>Fewest descriptors with the request.</summary>
    public int MinDescriptors { get; init; }

    /// <summary>Most descriptors with the request.</summary>
    public int MaxDescriptors { get; init; }

    /// <summary>When the request is answered.</summary>
    public required ReplyRule Reply { get; init; }

    /// <summary>Layout of the reply.</summary>
    public PayloadLayout ReplyLayout { get; init; } = PayloadLayout.U64;

    /// <summary>Sizes the reply may have.</summary>
    public PayloadRange ReplyPayload { get; init; } = PayloadRange.Exactly(VhostUserU64.Size);

    /// <summary>The reply may also be exactly as large as the request.</summary>
    public bool ReplyMayHaveRequestSize { get; init; }

    /// <summary>Fewest descriptors with the reply.</summary>
    public int MinReplyDescriptors { get; init; }

    /// <summary>Most descriptors with the reply.</summary>
    public int MaxReplyDescriptors { get; init; }

    /// <summary>Protocol features that must be acknowledged.</summary>
    public VhostUserProtocolFeatures RequiredProtocolFeatures { get; init; }

    /// <summary>Protocol features that need only be offered.</summary>
    public VhostUserProtocolFeatures RequiredOfferedProtocolFeatures { get; init; }

    /// <summary>Feature bits that must be acknowledged.</summary>
    public VirtioFeatures RequiredFeatures { get; init; }

    /// <summary>Feature bits that need only be offered.</summary>
    public VirtioFeatures RequiredOfferedFeatures { get; init; }

    /// <summary>Feature bits that must not be acknowledged.</summary>
    public VirtioFeatures ForbiddenFeatures { get; init; }

    /// <summary>What the table cannot say in numbers; empty when there is nothing.</summary>
    public string Note { get; init; } = "";

    /// <summary>The smallest payload in bytes, without Xen fields.</summary>
    public int MinPayload => Payload.Min;

    /// <summary>The largest payload in bytes, without Xen fields.</summary>
    public int MaxPayload => Payload.Max;

    /// <summary>The smallest reply in bytes.</summary>
    public int MinReplyPayload => ReplyPayload.Min;

    /// <summary>The largest reply in bytes.</summary>
    public int MaxReplyPayload => ReplyMayHaveRequestSize ? Math.Max(ReplyPayload.Max, Payload.Max) : ReplyPayload.Max;

    /// <summary>Sizes the request may have under what was negotiated.</summary>
    public PayloadRange PayloadFor(in NegotiatedState state) =>
        XenPayload is { } xen && (state.Protocol & VhostUserProtocolFeatures.XenMmap) != 0 ? xen : Payload;

    /// <summary>Tells whether the receiver answers this request.</summary>
    /// <param name="request">The request's header.</param>
    /// <param name="state">What was negotiated before the request.</param>
    /// <param name="postcopy">Postcopy is on (POSTCOPY_LISTEN was accepted): memory tables and regions are answered with addresses.</param>
    public bool IsAnswered(in VhostUserHeader request, in NegotiatedState state, bool postcopy = false) => Reply switch
    {
        ReplyRule.Always => true,
        ReplyRule.AlwaysWhenNeedReply => request.NeedsReply,
        ReplyRule.Conditional when HasOwnReply(state, postcopy) => true,
        ReplyRule.Never => false,
        _ => request.NeedsReply && (state.Protocol & VhostUserProtocolFeatures.ReplyAck) != 0,
    };

    private bool HasOwnReply(in NegotiatedState state, bool postcopy) => Code == (uint)VhostUserRequest.SetLogBase
        ? (state.Protocol & VhostUserProtocolFeatures.LogShmFd) != 0
        : postcopy;
}
