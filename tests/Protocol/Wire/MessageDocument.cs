using System.Globalization;
using System.Text;

namespace Vhost.Protocol.Tests;

/// <summary>Renders <see cref="MessageContracts"/> as docs/messages.md.</summary>
internal static class MessageDocument
{
    private static readonly CultureInfo _culture = CultureInfo.InvariantCulture;

    private static readonly Dictionary<PayloadLayout, string> _layouts = new()
    {
        [PayloadLayout.Empty] = "none",
        [PayloadLayout.U64] = "u64",
        [PayloadLayout.Features] = "u64 features",
        [PayloadLayout.ProtocolFeatures] = "u64 protocol features",
        [PayloadLayout.VringState] = "vring state",
        [PayloadLayout.VringAddress] = "vring address",
        [PayloadLayout.VringDescriptor] = "vring descriptor word",
        [PayloadLayout.MemoryTable] = "memory table",
        [PayloadLayout.SingleRegion] = "single region",
        [PayloadLayout.Log] = "log",
        [PayloadLayout.Iotlb] = "iotlb",
        [PayloadLayout.Config] = "config",
        [PayloadLayout.VringArea] = "vring area",
        [PayloadLayout.Inflight] = "inflight",
        [PayloadLayout.SharedObject] = "shared object",
        [PayloadLayout.DeviceState] = "device state",
        [PayloadLayout.DeviceStateReply] = "device state reply",
        [PayloadLayout.ShmemConfig] = "shmem config",
        [PayloadLayout.ShmemMap] = "shmem map",
        [PayloadLayout.CryptoSession] = "crypto session",
        [PayloadLayout.GpuCursorPosition] = "cursor position",
        [PayloadLayout.GpuCursorImage] = "cursor image",
        [PayloadLayout.GpuScanout] = "scanout",
        [PayloadLayout.GpuUpdate] = "rectangle, pixels",
        [PayloadLayout.GpuDmabufScanout] = "dma-buf scanout",
        [PayloadLayout.GpuEdidRequest] = "scanout number",
        [PayloadLayout.Opaque] = "opaque",
    };

    public static string Render()
    {
        StringBuilder text = new();
        text.Append("# Messages\n\n");
        text.Append("Generated from `MessageContracts`, the table that the validator, both halves and the decoder read;\n");
        text.Append("`UPDATE_DOCS=1` rewrites this file when `tests/Protocol` runs. Sizes are bytes of payload, *fds* are descriptors.\n\n");
        text.Append("A reply is *own* when the message always has one, *ack* when NEED_REPLY asks for it and REPLY_ACK is negotiated,\n");
        text.Append("*ack, always* when NEED_REPLY alone is enough, *own or ack* when it depends on the mode. An acknowledgement is a u64: 0 is success.\n");
        Table(text, VhostUserChannel.Main, "Requests of the front-end");
        Table(text, VhostUserChannel.Backend, "Requests of the back-end");
        Table(text, VhostUserChannel.Gpu, "Requests of a GPU back-end");
        Bits(text);
        return text.ToString();
    }

    private static void Table(StringBuilder text, VhostUserChannel channel, string title)
    {
        text.Append(_culture, $"\n## {title}\n\n");
        text.Append("| Code | Name | Payload | Fds | Reply | Reply payload | Reply fds | Needs | Note |\n");
        text.Append("|---|---|---|---|---|---|---|---|---|\n");
        foreach (MessageContract row in MessageContracts.All.Where(row => row.Channel == channel))
            Row(text, row);
    }

    private static void Row(StringBuilder text, MessageContract row)
    {
        string xen = row.XenPayload is { } range ? $" (Xen: {range})" : "";
        text.Append(_culture, $"| {row.Code} | {row.Name} | {Payload(row.Layout, row.Payload)}{xen} ");
        text.Append(_culture, $"| {new PayloadRange(row.MinDescriptors, row.MaxDescriptors)} ");
        text.Append(_culture, $"| {Reply(row.Reply)} | {ReplyPayload(row)} ");
        text.Append(_culture, $"| {(row.Reply == ReplyRule.Never ? "–" : new PayloadRange(row.MinReplyDescriptors, row.MaxReplyDescriptors))} ");
        text.Append(_culture, $"| {Needs(row)} | {(row.Note is { Length: > 0 } note ? note : "–")} |\n");
    }

    private static string Payload(PayloadLayout layout, PayloadRange range) =>
        layout == PayloadLayout.Empty ? "none" : $"{_layouts[layout]}, {range}";

    private static string Reply(ReplyRule rule) => rule switch
    {
        ReplyRule.Always => "own",
        ReplyRule.AckOnly => "ack",
        ReplyRule.AlwaysWhenNeedReply => "ack, always",
        ReplyRule.Conditional => "own or ack",
        _ => "never",
    };

    private static string ReplyPayload(MessageContract row)
    {
        if (row.Reply == ReplyRule.Never)
            return "–";
        string same = row.ReplyMayHaveRequestSize ? " or as the request" : "";
        return row.Reply == ReplyRule.Always ? Payload(row.ReplyLayout, row.ReplyPayload) + same : row.ReplyPayload + same;
    }

    private static string Needs(MessageContract row)
    {
        List<string> needs = [];
        AddBits(needs, (ulong)row.RequiredProtocolFeatures, FeatureNames.OfProtocolBit, "");
        AddBits(needs, (ulong)row.RequiredOfferedProtocolFeatures, FeatureNames.OfProtocolBit, " offered");
        AddBits(needs, (ulong)row.RequiredFeatures, FeatureNames.OfVirtioBit, "");
        AddBits(needs, (ulong)row.RequiredOfferedFeatures, FeatureNames.OfVirtioBit, " offered");
        AddBits(needs, (ulong)row.ForbiddenFeatures, FeatureNames.OfVirtioBit, " not negotiated");
        return needs.Count == 0 ? "–" : string.Join(", ", needs);
    }

    private static void AddBits(List<string> needs, ulong word, Func<int, string> name, string suffix)
    {
        for (int bit = 0; bit < 64; bit++)
        {
            if ((word >> bit & 1) != 0)
                needs.Add(name(bit) + suffix);
        }
    }

    private static void Bits(StringBuilder text)
    {
        text.Append("\n## Protocol features\n\n| Bit | Name | Messages it opens | Needs |\n|---|---|---|---|\n");
        for (int bit = 0; bit < 24; bit++)
        {
            VhostUserProtocolFeatures feature = (VhostUserProtocolFeatures)(1UL << bit);
            string messages = string.Join(
                ", ",
                MessageContracts.All
                    .Where(row => row.Channel != VhostUserChannel.Gpu && ((row.RequiredProtocolFeatures | row.RequiredOfferedProtocolFeatures) & feature) != 0)
                    .Select(row => row.Name["VHOST_USER_".Length..]));
            List<string> needs = [];
            AddBits(needs, (ulong)ProtocolFeatureRules.MissingFrom(feature), FeatureNames.OfProtocolBit, "");
            text.Append(_culture, $"| {bit} | {FeatureNames.OfProtocolBit(bit)} | {Or(messages)} | {Or(string.Join(", ", needs))} |\n");
        }

        static string Or(string words) => words.Length == 0 ? "–" : words;
    }
}
