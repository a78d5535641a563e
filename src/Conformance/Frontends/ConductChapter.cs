using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>What a front-end says to an honest back-end until its first request is served: order, sizes, descriptors, addresses.</summary>
internal static class ConductChapter
{
    public static FrontendChapter Cases { get; } = new("conduct", "vhost-user: Communication, Front-end message types")
    {
        { "is-served", Must, "The front-end brings up a device and has a request served", static peer => peer.ServedAsync() },
        { "headers", Must, "Each header has version 1, no REPLY flag and no reserved bit", static peer => EachAsync(peer, FrontendRules.Header), "", "vhost-user: Header" },
        { "known-messages", Must, "Each message is one that the specification has", static peer => EachAsync(peer, FrontendRules.Known) },
        { "sizes-and-descriptors", Must, "Each message has the size, the descriptors and the negotiated features that it demands", static peer => EachAsync(peer, FrontendRules.Contract) },
        { "need-reply", Must, "NEED_REPLY is set only once REPLY_ACK is acknowledged, but on messages that are always answered then", static peer => EachAsync(peer, FrontendRules.NeedReply), "", "vhost-user: VHOST_USER_PROTOCOL_F_REPLY_ACK" },
        { "features-first", Must, "GET_FEATURES comes before SET_FEATURES, and features are acknowledged before rings are started", FeaturesFirstAsync, "", "vhost-user: Feature negotiation" },
        { "features-offered", Must, "Only features that are offered are acknowledged", static peer => EachAsync(peer, FrontendRules.FeaturesOffered(peer)), "", "vhost-user: Feature negotiation" },
        { "protocol-offered", Must, "Only protocol features that are offered are acknowledged", static peer => EachAsync(peer, FrontendRules.ProtocolOffered(peer)), "", "vhost-user: Feature negotiation" },
        { "owner", Should, "SET_OWNER is said before memory is shared", OwnerAsync },
        { "memory-first", Must, "Memory is shared before a ring is started", static peer => BeforeKickAsync(peer, "memory", static message => message.Request is VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg) },
        { "size-first", Must, "The size of a ring is said before it is started", static peer => BeforeKickAsync(peer, "SET_VRING_NUM", static message => message.Request == VhostUserRequest.SetVringNum) },
        { "address-first", Must, "The addresses of a ring are said before it is started", static peer => BeforeKickAsync(peer, "SET_VRING_ADDR", static message => message.Request == VhostUserRequest.SetVringAddr) },
        { "base-first", Should, "The base of a ring is said before it is started", static peer => BeforeKickAsync(peer, "SET_VRING_BASE", static message => message.Request == VhostUserRequest.SetVringBase) },
        { "enables", Must, "With protocol features each ring is enabled that is used", EnablesAsync, "", "vhost-user: Ring states" },
        { "ring-sizes", Must, "The size of a split ring is a power of two up to 32768", static peer => EachAsync(peer, RingSize), "", "virtio: Split Virtqueues" },
        { "ring-numbers", Must, "Only rings are named that the back-end has", static peer => EachAsync(peer, RingNumber(peer)) },
        { "events", Must, "Kick and call descriptors are eventfds, and bit 8 says when there is none", static peer => EachAsync(peer, Events) },
        { "regions", Must, "Memory regions do not overlap and lie in their files", static peer => EachAsync(peer, new SaidMemory(peer).Judge), "", "vhost-user: Memory regions description" },
        { "slots", Must, "No more memory is shared at once than the back-end has slots for", SlotsAsync, "", "vhost-user: VHOST_USER_GET_MAX_MEM_SLOTS" },
        { "ring-addresses", Must, "The parts of a ring lie in the shared memory and are aligned", RingAddressesAsync, "", "virtio: Split Virtqueues" },
        { "requests", Must, "What the driver makes available are chains that end, in buffers of the shared memory", RequestsAsync, "", "virtio: Split Virtqueues, The Virtqueue Descriptor Table" },
        { "kicks", Must, "A ring is kicked when a request was made available in it", KicksAsync, "", "virtio: Split Virtqueues, Available Buffer Notification Suppression" },
        { "restart", Should, "A ring that was stopped goes on from the base that GET_VRING_BASE said", RestartAsync, "", "vhost-user: Ring states" },
        { "config-window", Must, "Configuration space is asked for within its 256 bytes", static peer => EachAsync(peer, ConfigWindow) },
    };

    private static Task EachAsync(FrontendPeer peer, Action<SaidMessage> judge) => JudgedAsync(peer, () => Array.ForEach(peer.Said, judge));

    /// <summary>Judges what was said until a request was served. Where that fails, what was said before may be the reason; where it is not, <c>is-served</c> has said the rest.</summary>
    private static async Task JudgedAsync(FrontendPeer peer, Action judge)
    {
        string? unserved = null;
        try
        {
            await peer.ServedAsync().ConfigureAwait(false);
        }
        catch (CaseEndedException ended)
        {
            unserved = ended.Came;
        }

        judge();
        if (unserved is not null)
            throw Expect.Skipped($"no request is served: {unserved}");
    }

    private static Task FeaturesFirstAsync(FrontendPeer peer) => JudgedAsync(peer, () =>
    {
        int get = Place(peer, VhostUserRequest.GetFeatures), set = Place(peer, VhostUserRequest.SetFeatures), kick = Place(peer, VhostUserRequest.SetVringKick);
        bool inOrder = (set < 0 || (get >= 0 && get < set)) && (kick < 0 || (set >= 0 && set < kick));
        Expect.That(inOrder, "GET_FEATURES, SET_FEATURES, SET_VRING_KICK in this order", $"they are messages {get + 1}, {set + 1} and {kick + 1} (0: never said)");
    });

    private static Task OwnerAsync(FrontendPeer peer) => JudgedAsync(peer, () =>
    {
        int owner = Place(peer, VhostUserRequest.SetOwner);
        int memory = Array.FindIndex(peer.Said, static message => message.Request is VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg);
        Expect.That(owner >= 0 && owner < memory, "SET_OWNER before memory is shared", owner < 0 ? "it is never said" : $"it is message {owner + 1}, memory is message {memory + 1}");
    });

    private static int Place(FrontendPeer peer, VhostUserRequest request) => Array.FindIndex(peer.Said, message => message.Request == request);

    private static Task BeforeKickAsync(FrontendPeer peer, string what, Predicate<SaidMessage> comesFirst) => JudgedAsync(peer, () =>
    {
        SaidMessage[] said = peer.Said;
        for (int i = 0; i < said.Length; i++)
        {
            SaidMessage kick = said[i];
            if (kick.Request == VhostUserRequest.SetVringKick)
                Expect.That(said[..i].Any(before => comesFirst(before) && (!before.IsOfRing || before.Ring == kick.Ring)), $"{what} before SET_VRING_KICK of ring {kick.Ring}", "it does not come before");
        }
    });

    private static Task EnablesAsync(FrontendPeer peer) => JudgedAsync(peer, () =>
    {
        if ((peer.State.Features & VirtioFeatures.VhostUserProtocolFeatures) == 0)
            throw Expect.Skipped("the front-end does not acknowledge bit 30: its rings are enabled from the start");
        foreach (SaidMessage message in peer.Said.Where(static message => message.Request == VhostUserRequest.SetVringEnable))
            Expect.That(message.Num <= 1, "SET_VRING_ENABLE with 0 or 1", $"{message.Num}");
        bool enabled = peer.Said.Any(static message => message.Request == VhostUserRequest.SetVringEnable && message.Num == 1);
        Expect.That(enabled || Place(peer, VhostUserRequest.SetVringKick) < 0, "SET_VRING_ENABLE with 1 of a ring that is started", "no ring is enabled");
    });

    private static void RingSize(SaidMessage message)
    {
        if (message.Request != VhostUserRequest.SetVringNum)
            return;
        uint size = message.Num;
        Expect.That(size is > 0 and <= 32_768 && uint.IsPow2(size), "a ring size that is a power of two from 1 to 32768", $"{size}");
    }

    private static Action<SaidMessage> RingNumber(FrontendPeer peer) => message =>
    {
        if (message.IsOfRing)
            Expect.That(message.Ring < peer.Script.Queues, $"{message.Name} of one of the {peer.Script.Queues} rings that the back-end has", $"ring {message.Ring}");
    };

    private static Task RingAddressesAsync(FrontendPeer peer) => JudgedAsync(peer, () =>
    {
        SaidMemory memory = new(peer);
        Array.ForEach(peer.Said, memory.Judge);
        foreach (SaidMessage message in peer.Said.Where(static message => message.Request == VhostUserRequest.SetVringAddr))
        {
            Expect.That(VhostUserVringAddress.TryRead(message.Payload, out VhostUserVringAddress address), "SET_VRING_ADDR of 40 bytes", $"{message.Payload.Length} bytes");
            Expect.That(address.Flags == 0, "no flags where LOG_ALL is not negotiated", $"0x{address.Flags:x}");
            Expect.That(address.DescriptorTable.Value % 16 == 0, "a descriptor table aligned to 16", $"0x{address.DescriptorTable.Value:x}");
            Expect.That(address.AvailableRing.Value % 2 == 0, "an available ring aligned to 2", $"0x{address.AvailableRing.Value:x}");
            Expect.That(address.UsedRing.Value % 4 == 0, "a used ring aligned to 4", $"0x{address.UsedRing.Value:x}");
            ulong size = peer.Said.LastOrDefault(said => said.Request == VhostUserRequest.SetVringNum && said.Ring == address.Index)?.Num ?? 0;
            Expect.That(memory.Contains(address.DescriptorTable, 16 * size), "a descriptor table in the shared memory", $"{16 * size} bytes at 0x{address.DescriptorTable.Value:x}");
            Expect.That(memory.Contains(address.AvailableRing, 6 + (2 * size)), "an available ring in the shared memory", $"{6 + (2 * size)} bytes at 0x{address.AvailableRing.Value:x}");
            Expect.That(memory.Contains(address.UsedRing, 6 + (8 * size)), "a used ring in the shared memory", $"{6 + (8 * size)} bytes at 0x{address.UsedRing.Value:x}");
        }
    });

    private static void Events(SaidMessage message)
    {
        if (message.Request is not (VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall))
            return;
        bool none = (message.U64 & 0x100) != 0;
        Expect.That(message.Descriptors.Length == (none ? 0 : 1), $"{message.Name} with {(none ? "no descriptor" : "one descriptor")}, as its bit 8 says", $"{message.Descriptors.Length}");
        Expect.That(message.Descriptors.All(static descriptor => descriptor.IsEvent), $"an eventfd with {message.Name}", "another kind of descriptor");
    }

    private static async Task SlotsAsync(FrontendPeer peer)
    {
        SaidMemory memory = new(peer);
        await EachAsync(peer, memory.Judge).ConfigureAwait(false);
        Expect.That(memory.Most <= (int)peer.Script.Slots, $"at most {peer.Script.Slots} regions at once", $"{memory.Most}");
    }

    private static async Task RequestsAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        await peer.HoldsAsync(static () => false, peer.Watch).ConfigureAwait(false);
    }

    /// <summary>A kick that came before the request says nothing; one that comes with it or after it is the driver's.</summary>
    private static async Task KicksAsync(FrontendPeer peer)
    {
        peer.Script.ServesRings = false;
        peer.Play();
        await peer.UntilAsync(() => peer.WithRing(static ring => ring.HasWaiting), "a ring is started, and a request in it").ConfigureAwait(false);
        if (peer.WithRing(ring => ring.HasWaiting && peer.IsPolled(ring.Index)))
            throw Expect.Skipped("the ring is started without a kick descriptor");
        await peer.UntilAsync(() => peer.WithRing(ring => peer.TakeKick(ring.Index) && ring.HasWaiting), "a kick of the ring in which a request waits").ConfigureAwait(false);
    }

    private static async Task RestartAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        await peer.HoldsAsync(() => Place(peer, VhostUserRequest.GetVringBase) >= 0, 10 * peer.Patience.Quiet).ConfigureAwait(false);
        int stop = Place(peer, VhostUserRequest.GetVringBase), served = peer.Served;
        bool again = stop >= 0 && await peer.HoldsAsync(() => peer.Said[stop..].Any(static message => message.Request == VhostUserRequest.SetVringKick)).ConfigureAwait(false);
        if (!again)
            throw Expect.Skipped("the front-end does not stop a ring and start it again");
        await peer.UntilAsync(() => peer.Served > served, "a request in the ring that was started again").ConfigureAwait(false);
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
