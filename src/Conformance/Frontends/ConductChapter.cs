using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>What a front-end says to an honest back-end until its first request is served: order, sizes, descriptors, addresses.</summary>
internal static class ConductChapter
{
    public static FrontendChapter Cases { get; } = new("conduct", "vhost-user: Communication, Front-end message types")
    {
        { "is-served", Must, "The front-end brings up a device and has a request served", static peer => peer.ServedAsync() },
        { "headers", Must, "Each header has version 1, no REPLY flag and no reserved bit", static peer => EachAsync(peer, Header) },
        { "known-messages", Must, "Each message is one that the specification has", static peer => EachAsync(peer, Known) },
        { "sizes-and-descriptors", Must, "Each message has the size, the descriptors and the negotiated features that it demands", static peer => EachAsync(peer, Contract) },
        { "need-reply", Must, "NEED_REPLY is set only once REPLY_ACK is acknowledged, but on messages that are always answered then", static peer => EachAsync(peer, NeedReply) },
        { "features-first", Must, "GET_FEATURES comes before SET_FEATURES, and features are acknowledged before rings are started", FeaturesFirstAsync },
        { "features-offered", Must, "Only features that are offered are acknowledged", static peer => EachAsync(peer, FeaturesOffered(peer)) },
        { "protocol-offered", Must, "Only protocol features that are offered are acknowledged", static peer => EachAsync(peer, ProtocolOffered(peer)) },
        { "owner", Should, "SET_OWNER is said before memory is shared", OwnerAsync },
        { "memory-first", Must, "Memory is shared before a ring is started", static peer => BeforeKickAsync(peer, "memory", static message => message.Request is VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg) },
        { "size-first", Must, "The size of a ring is said before it is started", static peer => BeforeKickAsync(peer, "SET_VRING_NUM", static message => message.Request == VhostUserRequest.SetVringNum) },
        { "address-first", Must, "The addresses of a ring are said before it is started", static peer => BeforeKickAsync(peer, "SET_VRING_ADDR", static message => message.Request == VhostUserRequest.SetVringAddr) },
        { "base-first", Should, "The base of a ring is said before it is started", static peer => BeforeKickAsync(peer, "SET_VRING_BASE", static message => message.Request == VhostUserRequest.SetVringBase) },
        { "enables", Must, "With protocol features each ring is enabled that is used", EnablesAsync },
        { "ring-sizes", Must, "The size of a split ring is a power of two up to 32768", static peer => EachAsync(peer, RingSize) },
        { "ring-numbers", Must, "Only rings are named that the back-end has", static peer => EachAsync(peer, RingNumber) },
        { "ring-addresses", Must, "The parts of a ring lie in the shared memory and are aligned", RingAddressesAsync },
        { "events", Must, "Kick and call descriptors are eventfds, and bit 8 says when there is none", static peer => EachAsync(peer, Events) },
        { "regions", Must, "Memory regions do not overlap and lie in their files", RegionsAsync },
        { "requests", Must, "What the driver makes available are chains that end, in buffers of the shared memory", RequestsAsync },
        { "config-window", Must, "Configuration space is asked for within its 256 bytes", static peer => EachAsync(peer, ConfigWindow) },
    };

    private static async Task EachAsync(FrontendPeer peer, Action<SaidMessage> judge)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        foreach (SaidMessage message in peer.Said)
            judge(message);
    }

    private static void Header(SaidMessage message)
    {
        const VhostUserHeaderFlags allowed = VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply;
        VhostUserHeaderFlags flags = message.Header.Flags;
        Expect.That((flags & ~VhostUserHeaderFlags.NeedReply) == VhostUserHeaderFlags.Version1, $"flags 0x1 or 0x{(uint)allowed:x} of {message.Name}", $"0x{(uint)flags:x}");
    }

    private static void Known(SaidMessage message) =>
        Expect.That(MessageContracts.TryGet(message.Request, out _), "a message that the specification has", $"{message.Header.Request}");

    private static void Contract(SaidMessage message)
    {
        MessageCheck check = MessageValidator.CheckRequest(VhostUserChannel.Main, message.Header, message.Descriptors.Length, message.State);
        bool early = message.Request is VhostUserRequest.GetFeatures or VhostUserRequest.GetProtocolFeatures or VhostUserRequest.SetProtocolFeatures or VhostUserRequest.SetOwner;
        Expect.That(check.IsValid || early, $"{message.Name} as the specification has it", check.Explanation ?? "");
    }

    private static void NeedReply(SaidMessage message)
    {
        bool allowed = (message.State.Protocol & VhostUserProtocolFeatures.ReplyAck) != 0
            || message.Request is VhostUserRequest.IotlbMsg or VhostUserRequest.PostcopyListen or VhostUserRequest.PostcopyEnd;
        Expect.That(allowed || !message.Header.NeedsReply, $"{message.Name} without NEED_REPLY before REPLY_ACK is acknowledged", "it has it");
    }

    private static Action<SaidMessage> FeaturesOffered(FrontendPeer peer) => message =>
    {
        if (message.Request == VhostUserRequest.SetFeatures)
            Expect.That((message.U64 & ~(ulong)peer.Script.Features) == 0, $"SET_FEATURES within 0x{(ulong)peer.Script.Features:x}", $"0x{message.U64:x}");
    };

    private static Action<SaidMessage> ProtocolOffered(FrontendPeer peer) => message =>
    {
        if (message.Request == VhostUserRequest.SetProtocolFeatures)
            Expect.That((message.U64 & ~(ulong)peer.Script.Protocol) == 0, $"SET_PROTOCOL_FEATURES within 0x{(ulong)peer.Script.Protocol:x}", $"0x{message.U64:x}");
    };

    private static async Task FeaturesFirstAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        int get = Place(peer, VhostUserRequest.GetFeatures), set = Place(peer, VhostUserRequest.SetFeatures), kick = Place(peer, VhostUserRequest.SetVringKick);
        Expect.That(get < set && set < kick, "GET_FEATURES, SET_FEATURES, SET_VRING_KICK in this order", $"they are messages {get + 1}, {set + 1} and {kick + 1}");
    }

    private static async Task OwnerAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        int owner = Place(peer, VhostUserRequest.SetOwner);
        int memory = Array.FindIndex(peer.Said, static message => message.Request is VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg);
        Expect.That(owner >= 0 && owner < memory, "SET_OWNER before memory is shared", owner < 0 ? "it is never said" : $"it is message {owner + 1}, memory is message {memory + 1}");
    }

    private static int Place(FrontendPeer peer, VhostUserRequest request) => Array.FindIndex(peer.Said, message => message.Request == request);

    private static async Task BeforeKickAsync(FrontendPeer peer, string what, Predicate<SaidMessage> comesFirst)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        SaidMessage[] said = peer.Said;
        for (int i = 0; i < said.Length; i++)
        {
            SaidMessage kick = said[i];
            if (kick.Request == VhostUserRequest.SetVringKick)
                Expect.That(said[..i].Any(before => comesFirst(before) && (!before.IsOfRing || before.Ring == kick.Ring)), $"{what} before SET_VRING_KICK of ring {kick.Ring}", "it does not come before");
        }
    }

    private static async Task EnablesAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        if (peer.State.Protocol == 0 && (peer.State.Features & VirtioFeatures.VhostUserProtocolFeatures) == 0)
            throw Expect.Skipped("the front-end acknowledges no protocol features");
        foreach (SaidMessage message in peer.Said.Where(static message => message.Request == VhostUserRequest.SetVringEnable))
            Expect.That(BitConverter.ToUInt32(message.Payload, 4) <= 1, "SET_VRING_ENABLE with 0 or 1", $"{BitConverter.ToUInt32(message.Payload, 4)}");
    }

    private static void RingSize(SaidMessage message)
    {
        if (message.Request != VhostUserRequest.SetVringNum)
            return;
        uint size = BitConverter.ToUInt32(message.Payload, 4);
        Expect.That(size is > 0 and <= 32_768 && uint.IsPow2(size), "a ring size that is a power of two from 1 to 32768", $"{size}");
    }

    private static void RingNumber(SaidMessage message)
    {
        if (message.IsOfRing)
            Expect.That(message.Ring < 2, $"{message.Name} of a ring that the back-end has", $"ring {message.Ring}");
    }

    private static async Task RingAddressesAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        foreach (SaidMessage message in peer.Said.Where(static message => message.Request == VhostUserRequest.SetVringAddr))
        {
            Expect.That(VhostUserVringAddress.TryRead(message.Payload, out VhostUserVringAddress address), "SET_VRING_ADDR of 40 bytes", $"{message.Payload.Length} bytes");
            Expect.That(address.DescriptorTable.Value % 16 == 0, "a descriptor table aligned to 16", $"0x{address.DescriptorTable.Value:x}");
            Expect.That(address.AvailableRing.Value % 2 == 0, "an available ring aligned to 2", $"0x{address.AvailableRing.Value:x}");
            Expect.That(address.UsedRing.Value % 4 == 0, "a used ring aligned to 4", $"0x{address.UsedRing.Value:x}");
        }
    }

    private static void Events(SaidMessage message)
    {
        if (message.Request is not (VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall))
            return;
        bool none = (message.U64 & 0x100) != 0;
        Expect.That(message.Descriptors.Length == (none ? 0 : 1), $"{message.Name} with {(none ? "no descriptor" : "one descriptor")}, as its bit 8 says", $"{message.Descriptors.Length}");
        Expect.That(message.Descriptors.All(static descriptor => descriptor.IsEvent), $"an eventfd with {message.Name}", "another kind of descriptor");
    }

    private static async Task RegionsAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        foreach (SaidMessage message in peer.Said.Where(static message => message.Request == VhostUserRequest.SetMemTable))
            Table(message);
    }

    private static void Table(SaidMessage message)
    {
        if (!VhostUserMemoryTable.TryRead(message.Payload, out VhostUserMemoryTable table))
            throw Expect.Failed("a memory table", $"{message.Payload.Length} bytes that are none");
        Expect.Equal(table.Count, message.Descriptors.Length, "descriptors with the memory table");
        for (int i = 0; i < table.Count; i++)
        {
            VhostUserMemoryRegion region = table[i];
            Expect.That(region.Size > 0 && region.MmapOffset + region.Size <= message.Descriptors[i].Size, "a region inside its file", $"{region.Size} bytes at {region.MmapOffset} of {message.Descriptors[i].Size}");
            for (int j = 0; j < i; j++)
            {
                VhostUserMemoryRegion other = table[j];
                bool apart = region.GuestAddress.Value + region.Size <= other.GuestAddress.Value || other.GuestAddress.Value + other.Size <= region.GuestAddress.Value;
                Expect.That(apart, "regions that do not overlap", $"regions {j} and {i} do");
            }
        }
    }

    private static async Task RequestsAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        await peer.HoldsAsync(static () => false, peer.Patience.Quiet).ConfigureAwait(false);
    }

    private static void ConfigWindow(SaidMessage message)
    {
        if (message.Request is not (VhostUserRequest.GetConfig or VhostUserRequest.SetConfig))
            return;
        Expect.That(VhostUserConfig.TryRead(message.Payload, out VhostUserConfig window), $"{message.Name} with its 12 bytes", $"{message.Payload.Length} bytes");
        Expect.That(window.Offset + (ulong)window.Size <= VhostUserConfig.MaxWindow, "offset and size within 256", $"{window.Offset} and {window.Size}");
        Expect.That(message.Payload.Length == VhostUserConfig.HeaderSize + window.Size, $"a payload of {VhostUserConfig.HeaderSize + window.Size} bytes", $"{message.Payload.Length}");
    }
}
