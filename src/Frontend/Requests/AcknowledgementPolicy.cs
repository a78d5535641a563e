namespace Vhost.Frontend;

/// <summary>When a request carries NEED_REPLY, that is, asks for an acknowledgement (vhost-user specification,
/// "VHOST_USER_PROTOCOL_F_REPLY_ACK").</summary>
public enum AcknowledgementPolicy
{
    /// <summary>
    /// Never: the only lawful choice before REPLY_ACK is acknowledged. IOTLB_MSG, POSTCOPY_LISTEN and POSTCOPY_END
    /// carry the flag all the same, as every front-end sends them.
    /// </summary>
    Never,

    /// <summary>On every request that has no reply of its own. A session chooses this once REPLY_ACK is acknowledged.</summary>
    RequestsWithoutReply,

    /// <summary>On every request, those with a reply of their own included, as some front-ends do. The answer is the same.</summary>
    EveryRequest,
}
