using System.Globalization;
using System.Text;

namespace Vhost.Protocol;

/// <summary>One line of text for one message, for logs and traces. Reads the layouts of <see cref="MessageContracts"/>.</summary>
public static class MessageText
{
    private const int MaxBytesShown = 32;

    private static readonly CultureInfo _culture = CultureInfo.InvariantCulture;

    /// <summary>
    /// Describes a message, for example <c>VHOST_USER_SET_VRING_NUM, 8 bytes: ring 0, num 256</c>. Never throws, whatever the bytes are; what
    /// cannot be decoded is shown as bytes.
    /// </summary>
    /// <param name="channel">The channel it travels on.</param>
    /// <param name="header">Its header.</param>
    /// <param name="payload">Its payload, or what there is of it.</param>
    /// <param name="descriptorCount">Descriptors that travel with it.</param>
    public static string Describe(VhostUserChannel channel, in VhostUserHeader header, ReadOnlySpan<byte> payload, int descriptorCount)
    {
        StringBuilder text = new(96);
        AppendHead(text, channel, header, descriptorCount);
        if (payload.IsEmpty)
            return text.ToString();
        text.Append(": ");
        int start = text.Length;
        PayloadLayout layout = PayloadLayout.Opaque;
        if (MessageContracts.TryGet(channel, header.Request, out MessageContract? contract))
            layout = header.IsReply ? ReplyLayout(contract, payload.Length) : contract.Layout;
        if (!PayloadText.TryAppend(text, layout, payload))
        {
            text.Length = start;
            AppendBytes(text, payload, layout == PayloadLayout.Opaque ? "" : "malformed ");
        }

        return text.ToString();
    }

    // A reply that is not the message's own is an acknowledgement.
    private static PayloadLayout ReplyLayout(MessageContract contract, int size)
    {
        if (contract.Reply == ReplyRule.Conditional)
            return size == VhostUserU64.Size ? PayloadLayout.U64 : contract.Layout;
        return contract.ReplyLayout;
    }

    private static void AppendHead(StringBuilder text, VhostUserChannel channel, in VhostUserHeader header, int descriptorCount)
    {
        text.Append(MessageContracts.NameOf(channel, header.Request));
        if (header.IsReply)
            text.Append(" reply");
        if (header.NeedsReply)
            text.Append(" need-reply");
        VhostUserHeaderFlags rest = header.Flags & ~(VhostUserHeaderFlags.Reply | VhostUserHeaderFlags.NeedReply);
        VhostUserHeaderFlags version = channel == VhostUserChannel.Gpu ? VhostUserHeaderFlags.None : VhostUserHeaderFlags.Version1;
        if (rest != version)
            text.Append(_culture, $" flags 0x{(uint)header.Flags:x}");
        text.Append(_culture, $", {header.PayloadSize} bytes");
        if (descriptorCount != 0)
            text.Append(_culture, $", {descriptorCount} descriptor{(descriptorCount == 1 ? "" : "s")}");
    }

    private static void AppendBytes(StringBuilder text, ReadOnlySpan<byte> payload, string what)
    {
        text.Append(what).Append("bytes");
        foreach (byte value in payload[..Math.Min(payload.Length, MaxBytesShown)])
            text.Append(_culture, $" {value:x2}");
        if (payload.Length > MaxBytesShown)
            text.Append(" …");
    }
}
