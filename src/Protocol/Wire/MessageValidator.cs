using System.Globalization;

namespace Vhost.Protocol;

/// <summary>
/// Judges headers and descriptor counts against <see cref="MessageContracts"/>. Pure; allocates only when it explains a violation.
/// Contents of payloads are judged by those who act on them.
/// </summary>
public static class MessageValidator
{
    private const VhostUserHeaderFlags KnownFlags = VhostUserHeaderFlags.VersionMask | VhostUserHeaderFlags.Reply | VhostUserHeaderFlags.NeedReply;

    /// <summary>Judges a header on its own: version, reserved bits, largest payload. The connection cannot go on when this fails.</summary>
    public static MessageCheck CheckHeader(in VhostUserHeader header) => CheckHeader(VhostUserChannel.Main, header);

    /// <summary>Judges a header on its own: version, reserved bits, largest payload of the channel.</summary>
    public static MessageCheck CheckHeader(VhostUserChannel channel, in VhostUserHeader header)
    {
        // The GPU channel has no version in its flags.
        if (channel != VhostUserChannel.Gpu && (header.Flags & VhostUserHeaderFlags.VersionMask) != VhostUserHeaderFlags.Version1)
            return Explain.BadVersion(channel, header);
        if ((header.Flags & ~KnownFlags) != 0)
            return Explain.ReservedFlags(channel, header);
        int max = channel == VhostUserChannel.Gpu ? GpuContracts.MaxUpdate : VhostUserHeader.MaxPayloadSize;
        return header.PayloadSize > (uint)max ? Explain.TooLarge(channel, header, max) : default;
    }

    /// <summary>Judges a request as its receiver.</summary>
    /// <param name="channel">The channel it came on.</param>
    /// <param name="header">Its header.</param>
    /// <param name="descriptorCount">Descriptors that came with it.</param>
    /// <param name="state">What is negotiated.</param>
    public static MessageCheck CheckRequest(VhostUserChannel channel, in VhostUserHeader header, int descriptorCount, in NegotiatedState state)
    {
        MessageCheck check = CheckHeader(channel, header);
        if (!check.IsValid)
            return check;
        if (header.IsReply)
            return Explain.ReplyFlagInRequest(channel, header);
        if (!MessageContracts.TryGet(channel, header.Request, out MessageContract? contract))
            return Explain.UnknownRequest(channel, header);
        check = CheckGates(contract, state);
        if (!check.IsValid)
            return check;
        PayloadRange sizes = contract.PayloadFor(state);
        if (!sizes.Contains(header.PayloadSize))
            return Explain.Size(contract.Name, "payload", header.PayloadSize, sizes, requestSize: null);
        if (descriptorCount < contract.MinDescriptors || descriptorCount > contract.MaxDescriptors)
            return Explain.Descriptors(contract.Name, "", descriptorCount, contract.MinDescriptors, contract.MaxDescriptors);
        return descriptorCount > 0 ? CheckDescriptorGate(contract, state) : default;
    }

    /// <summary>Judges a reply as the one who asked. NEED_REPLY in a reply is ignored: some peers echo it.</summary>
    /// <param name="channel">The channel the request was sent on.</param>
    /// <param name="request">The request's header.</param>
    /// <param name="reply">The reply's header.</param>
    /// <param name="descriptorCount">Descriptors that came with the reply.</param>
    public static MessageCheck CheckReply(VhostUserChannel channel, in VhostUserHeader request, in VhostUserHeader reply, int descriptorCount)
    {
        MessageCheck check = CheckHeader(channel, reply);
        if (!check.IsValid)
            return check;
        if (!reply.IsReply)
            return Explain.NotAReply(channel, request, reply);
        if (reply.Request != request.Request)
            return Explain.OtherReply(channel, request, reply);
        if (!MessageContracts.TryGet(channel, request.Request, out MessageContract? contract))
            return default;
        if (!contract.ReplyPayload.Contains(reply.PayloadSize) && !(contract.ReplyMayHaveRequestSize && reply.PayloadSize == request.PayloadSize))
        {
            return Explain.Size(
                contract.Name, "reply payload", reply.PayloadSize, contract.ReplyPayload, contract.ReplyMayHaveRequestSize ? request.PayloadSize : null);
        }

        return descriptorCount < contract.MinReplyDescriptors || descriptorCount > contract.MaxReplyDescriptors
            ? Explain.Descriptors(contract.Name, " with the reply", descriptorCount, contract.MinReplyDescriptors, contract.MaxReplyDescriptors)
            : default;
    }

    private static MessageCheck CheckGates(MessageContract contract, in NegotiatedState state)
    {
        if ((contract.RequiredOfferedFeatures & ~state.Offered) is not 0 and var notOffered)
            return Explain.Gate(contract.Name, $"{FeatureNames.Describe(notOffered)} offered", "offered", FeatureNames.Describe(state.Offered));
        if ((contract.RequiredFeatures & ~state.Features) is not 0 and var missing)
            return Explain.Gate(contract.Name, $"{FeatureNames.Describe(missing)} negotiated", "negotiated", FeatureNames.Describe(state.Features));
        if ((contract.ForbiddenFeatures & state.Features) is not 0 and var forbidden)
        {
            return Explain.Gate(
                contract.Name, $"{FeatureNames.Describe(forbidden)} not negotiated", "negotiated", FeatureNames.Describe(state.Features));
        }

        if ((contract.RequiredOfferedProtocolFeatures & ~state.OfferedProtocol) is not 0 and var notOfferedProtocol)
        {
            return Explain.Gate(
                contract.Name,
                $"protocol feature {FeatureNames.Describe(notOfferedProtocol)} offered",
                "offered",
                FeatureNames.Describe(state.OfferedProtocol));
        }

        return CheckProtocolGate(contract.Name, contract.RequiredProtocolFeatures, state.Protocol);
    }

    private static MessageCheck CheckProtocolGate(string name, VhostUserProtocolFeatures required, VhostUserProtocolFeatures negotiated) =>
        (required & ~negotiated) is not 0 and var missing
            ? Explain.Gate(name, $"protocol feature {FeatureNames.Describe(missing)} negotiated", "negotiated", FeatureNames.Describe(negotiated))
            : default;

    private static MessageCheck CheckDescriptorGate(MessageContract contract, in NegotiatedState state) =>
        contract.Channel == VhostUserChannel.Backend
            ? CheckProtocolGate(contract.Name + " with a descriptor", VhostUserProtocolFeatures.BackendSendFd, state.Protocol)
            : default;

    private static class Explain
    {
        private static readonly CultureInfo Culture = CultureInfo.InvariantCulture;

        public static MessageCheck BadVersion(VhostUserChannel channel, in VhostUserHeader header) => new(
            VhostUserViolation.BadVersion,
            string.Create(
                Culture,
                $"{Name(channel, header)}: header flags 0x{(uint)header.Flags:x} say version {(uint)(header.Flags & VhostUserHeaderFlags.VersionMask)}; only version 1 is allowed."));

        public static MessageCheck ReservedFlags(VhostUserChannel channel, in VhostUserHeader header) => new(
            VhostUserViolation.ReservedFlags,
            string.Create(Culture, $"{Name(channel, header)}: header flags 0x{(uint)header.Flags:x} set reserved bits; bits 4 to 31 must be 0."));

        public static MessageCheck TooLarge(VhostUserChannel channel, in VhostUserHeader header, int max) => new(
            VhostUserViolation.PayloadTooLong,
            string.Create(Culture, $"{Name(channel, header)}: the header announces a payload of {header.PayloadSize} bytes; at most {max} are taken."));

        public static MessageCheck ReplyFlagInRequest(VhostUserChannel channel, in VhostUserHeader header) => new(
            VhostUserViolation.ReplyFlagInRequest,
            string.Create(Culture, $"{Name(channel, header)}: header flags 0x{(uint)header.Flags:x} mark a reply where a request is expected (0x1 or 0x9)."));

        public static MessageCheck UnknownRequest(VhostUserChannel channel, in VhostUserHeader header) => new(
            VhostUserViolation.UnknownRequest,
            string.Create(Culture, $"{ChannelName(channel)}: request code {header.Request} is not assigned; codes 1 to {LastCode(channel)} are known."));

        public static MessageCheck NotAReply(VhostUserChannel channel, in VhostUserHeader request, in VhostUserHeader reply) => new(
            VhostUserViolation.UnexpectedReply,
            string.Create(
                Culture,
                $"{Name(channel, request)} ({request.Request}): the answer {Name(channel, reply)} ({reply.Request}) has header flags 0x{(uint)reply.Flags:x} without the REPLY bit; 0x5 is expected."));

        public static MessageCheck OtherReply(VhostUserChannel channel, in VhostUserHeader request, in VhostUserHeader reply) => new(
            VhostUserViolation.UnexpectedReply,
            string.Create(
                Culture,
                $"{Name(channel, request)} ({request.Request}): the reply names {Name(channel, reply)} ({reply.Request}) instead of the request that waits for it."));

        public static MessageCheck Size(string name, string field, uint size, PayloadRange allowed, uint? requestSize)
        {
            VhostUserViolation violation = size < (uint)allowed.Min
                ? VhostUserViolation.PayloadTooShort
                : size > (uint)allowed.Max ? VhostUserViolation.PayloadTooLong : VhostUserViolation.PayloadSizeMismatch;
            string same = requestSize is { } also ? string.Create(Culture, $", or {also} as in the request,") : "";
            return new(violation, string.Create(Culture, $"{name}: {field} of {size} bytes; {allowed}{same} allowed."));
        }

        public static MessageCheck Descriptors(string name, string where, int count, int min, int max) => new(
            VhostUserViolation.WrongDescriptorCount,
            string.Create(Culture, $"{name}: {count} descriptors came{where}; {new PayloadRange(min, max)} allowed."));

        public static MessageCheck Gate(string name, string needed, string stateName, string state) => new(
            VhostUserViolation.FeatureNotNegotiated,
            string.Create(Culture, $"{name}: needs {needed}; {stateName}: {state}."));

        private static string Name(VhostUserChannel channel, in VhostUserHeader header) => MessageContracts.NameOf(channel, header.Request);

        private static string ChannelName(VhostUserChannel channel) => channel switch
        {
            VhostUserChannel.Main => "main channel",
            VhostUserChannel.Backend => "back-end channel",
            _ => "GPU channel",
        };

        private static int LastCode(VhostUserChannel channel) => channel switch
        {
            VhostUserChannel.Main => MainContracts.Rows.Length,
            VhostUserChannel.Backend => BackendContracts.Rows.Length,
            _ => GpuContracts.Rows.Length,
        };
    }
}
