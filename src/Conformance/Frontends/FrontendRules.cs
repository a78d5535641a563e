using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>What holds of each message of a front-end, whatever the back-end is like.</summary>
internal static class FrontendRules
{
    /// <summary>All of them, of everything that was said.</summary>
    public static void JudgeAll(FrontendPeer peer)
    {
        Action<SaidMessage> features = FeaturesOffered(peer), protocol = ProtocolOffered(peer);
        foreach (SaidMessage message in peer.Said)
        {
            Header(message);
            Contract(message);
            NeedReply(message);
            features(message);
            protocol(message);
        }
    }

    public static void Header(SaidMessage message)
    {
        const VhostUserHeaderFlags allowed = VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply;
        VhostUserHeaderFlags flags = message.Header.Flags;
        Expect.That((flags & ~VhostUserHeaderFlags.NeedReply) == VhostUserHeaderFlags.Version1, $"flags 0x1 or 0x{(uint)allowed:x} of {message.Name}", $"0x{(uint)flags:x}");
    }

    public static void Known(SaidMessage message) =>
        Expect.That(MessageContracts.TryGet(message.Request, out _), "a message that the specification has", $"{message.Header.Request}");

    public static void Contract(SaidMessage message)
    {
        MessageCheck check = MessageValidator.CheckRequest(VhostUserChannel.Main, message.Header, message.Descriptors.Length, message.State);
        Expect.That(check.IsValid, $"{message.Name} as the specification has it", check.Explanation ?? "");
    }

    public static void NeedReply(SaidMessage message)
    {
        bool allowed = (message.State.Protocol & VhostUserProtocolFeatures.ReplyAck) != 0
            || message.Request is VhostUserRequest.IotlbMsg or VhostUserRequest.PostcopyListen or VhostUserRequest.PostcopyEnd;
        Expect.That(allowed || !message.Header.NeedsReply, $"{message.Name} without NEED_REPLY before REPLY_ACK is acknowledged", "it has it");
    }

    public static Action<SaidMessage> FeaturesOffered(FrontendPeer peer) => message =>
    {
        if (message.Request == VhostUserRequest.SetFeatures)
            Expect.That((message.U64 & ~(ulong)peer.Script.Features) == 0, $"SET_FEATURES within 0x{(ulong)peer.Script.Features:x}", $"0x{message.U64:x}");
    };

    public static Action<SaidMessage> ProtocolOffered(FrontendPeer peer) => message =>
    {
        if (message.Request == VhostUserRequest.SetProtocolFeatures)
            Expect.That((message.U64 & ~(ulong)peer.Script.Protocol) == 0, $"SET_PROTOCOL_FEATURES within 0x{(ulong)peer.Script.Protocol:x}", $"0x{message.U64:x}");
    };
}
