namespace Vhost.Protocol;

/// <summary>When a request is answered (vhost-user "Communication").</summary>
public enum ReplyRule
{
    /// <summary>Only with an acknowledgement, when NEED_REPLY is set and REPLY_ACK is negotiated.</summary>
    AckOnly,

    /// <summary>Always with a reply of its own; NEED_REPLY changes nothing.</summary>
    Always,

    /// <summary>With a 64-bit number whenever NEED_REPLY is set, even without REPLY_ACK: QEMU sets the flag on these always, and waits.</summary>
    AlwaysWhenNeedReply,

    /// <summary>With a reply of its own in one mode (LOG_SHMFD, postcopy), otherwise as <see cref="AckOnly"/>.</summary>
    Conditional,

    /// <summary>Never: the GPU channel has no acknowledgements.</summary>
    Never,
}
