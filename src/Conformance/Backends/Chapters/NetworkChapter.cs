using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>What a network card does with packets, commands and the messages that only it has.</summary>
internal static class NetworkChapter
{
    private const string Control = "virtio: Network Device, Control Virtqueue";
    private const byte Done = 0;
    private const byte Refused = 1;

    private static readonly CaseNeeds _card = new() { Device = "net", Work = true };

    public static Chapter Cases { get; } = Create();

    private static Chapter Create()
    {
        Chapter chapter = new("network", "virtio: Network Device, Packet Transmission", _card);
        AddTransmission(chapter);
        AddReception(chapter);
        AddMessages(chapter);
        AddPairs(chapter);
        AddCommands(chapter);
        AddHostile(chapter);
        return chapter;
    }

    private static void AddTransmission(Chapter chapter)
    {
        foreach (int length in (int[])[60, 64, 65, 128, 512, 1000, 1514])
            chapter.Add($"send-{length}", Must, $"A packet of {length} bytes is taken, in one buffer and in several, though there are no buffers to receive in", peer => SendAsync(peer, length));
        AddFraming(chapter, "header-apart", "whose header is apart", 12);
        AddFraming(chapter, "header-halved", "whose header is in two buffers", 6, 6);
        AddFraming(chapter, "header-bytes", "whose header has a buffer for each byte", [.. Enumerable.Repeat(1, 12)]);
        AddFraming(chapter, "header-runs-on", "whose second buffer holds the end of the header and more", 5, 20);
        AddFraming(chapter, "addresses-apart", "whose addresses are apart", 12, 6, 6, 2);
        AddFraming(chapter, "last-byte", "whose last byte is apart", 12 + 59);
        chapter.Add("send-many", Must, "Many packets at once are all taken", SendManyAsync);
        chapter.Add("send-mixed", Must, "Packets of different sizes and framings at once are all taken", SendMixedAsync);
        chapter.Add("mergeable", Must, "Packets are taken with MRG_RXBUF", static peer => SendAsync(peer, 100), Needs(VirtioNetFeatures.MergeableBuffers));
        chapter.Add("send-after-disable", Must, "Packets are taken again after the ring was disabled for a while", AfterDisableAsync, _card with { Features = VirtioFeatures.VhostUserProtocolFeatures }, "vhost-user: Ring states");
    }

    private static void AddFraming(Chapter chapter, string id, string what, params int[] pieces) =>
        chapter.Add($"send-{id}", Must, $"A packet {what} is taken", peer => FramedAsync(peer, pieces), null, "virtio: Message Framing");

    private static void AddReception(Chapter chapter)
    {
        const string reception = "virtio: Network Device, Setting Up Receive Buffers";
        chapter.Add("receive-posted", Must, "Buffers to receive in are used for packets only", static peer => PostedAsync(peer, 8, 1526), null, reception);
        chapter.Add("receive-small", Must, "Small buffers to receive in are withstood with MRG_RXBUF", static peer => PostedAsync(peer, 8, 64), Needs(VirtioNetFeatures.MergeableBuffers), reception);
        chapter.Add("receive-stop", Must, "A ring with buffers to receive in is stopped before the first that is not used", StopPostedAsync, null, "vhost-user: VHOST_USER_GET_VRING_BASE");
        chapter.Add("receive-restart", Must, "Packets are taken after the ring to receive in was stopped and started again", RestartReceiveAsync, null, "vhost-user: Ring states");
        foreach (int length in (int[])[0, 1, 11, 12])
            chapter.Add($"r10-receive-{length}", Robustness, $"The device withstands buffers to receive in of {length} bytes", peer => TinyAsync(peer, length), null, reception);
    }

    private static void AddMessages(Chapter chapter)
    {
        const string mtu = "vhost-user: VHOST_USER_NET_SET_MTU";
        const string rarp = "vhost-user: VHOST_USER_SEND_RARP";
        CaseNeeds withMtu = Needs(VirtioNetFeatures.Mtu) with { Protocol = VhostUserProtocolFeatures.NetMtu };
        CaseNeeds withRarp = _card with { Protocol = VhostUserProtocolFeatures.Rarp };
        foreach (ulong value in (ulong[])[68, 1280, 1500, 9000])
            chapter.Add($"mtu-{value}", Must, $"An MTU of {value} is accepted", peer => MtuAsync(peer, value), withMtu, mtu);
        chapter.Add("rarp", Must, "SEND_RARP is carried out", static peer => RarpAsync(peer, 0), withRarp, rarp);
        chapter.Add("rarp-posted", Must, "SEND_RARP is carried out while there are buffers to receive in", static peer => RarpAsync(peer, 8), withRarp, rarp);
    }

    private static void AddPairs(Chapter chapter)
    {
        const string pairs = "virtio: Network Device, Automatic receive steering in multiqueue mode";
        CaseNeeds many = Needs(VirtioNetFeatures.MultiQueue) with { Queues = 3, Protocol = VhostUserProtocolFeatures.MultiQueue };
        chapter.Add("pairs-second", Should, "A packet is taken on the second pair", static peer => PairsAsync(peer, false), many, pairs);
        chapter.Add("pairs-one-by-one", Should, "Pairs are enabled one after the other while packets are taken", static peer => PairsAsync(peer, true), many, pairs);
        chapter.Add("pairs-stop-second", Must, "The first pair goes on when the second is stopped", StopSecondAsync, many, pairs);
    }

    private static void AddCommands(Chapter chapter)
    {
        CaseNeeds control = Needs(VirtioNetFeatures.ControlQueue);
        Add("command-promiscuous", "The promiscuous mode is set", VirtioNetFeatures.ControlReceive, 0, 0, Done, 1);
        Add("command-all-multicast", "The mode for all multicasts is set", VirtioNetFeatures.ControlReceive, 0, 1, Done, 1);
        Add("command-mac", "The address is set", VirtioNetFeatures.ControlMacAddress, 1, 1, Done, 2, 0, 0, 0, 0, 9);
        Add("command-mac-table", "An empty table of addresses is set", VirtioNetFeatures.ControlReceive, 1, 0, Done, 0, 0, 0, 0, 0, 0, 0, 0);
        Add("command-vlan", "A VLAN is added", VirtioNetFeatures.ControlVlan, 2, 0, Done, 5, 0);
        Add("command-pairs-one", "One pair is asked for", VirtioNetFeatures.MultiQueue, 4, 0, Done, 1, 0);
        Add("command-pairs-none", "No pairs at all are refused", VirtioNetFeatures.MultiQueue, 4, 0, Refused, 0, 0);
        Add("command-pairs-many", "More pairs than there are are refused", VirtioNetFeatures.MultiQueue, 4, 0, Refused, 1, 0x80);
        Add("command-unknown", "A command that there is not is refused", VirtioNetFeatures.None, 0x70, 0, Refused, 1);
        Add("command-unknown-in-class", "A command that there is not in a class that there is is refused", VirtioNetFeatures.ControlReceive, 0, 0x70, Refused, 1);
        chapter.Add("command-framing", Must, "A command is carried out though each byte has a buffer", CommandFramingAsync, Needs(VirtioNetFeatures.ControlQueue | VirtioNetFeatures.ControlReceive), Control);
        chapter.Add("command-short", Robustness, "The device withstands a command of one byte", static peer => OddCommandAsync(peer, 1, true), control, Control);
        chapter.Add("command-no-answer", Robustness, "The device withstands a command without room for the answer", static peer => OddCommandAsync(peer, 3, false), control, Control);
        void Add(string id, string title, VirtioNetFeatures feature, byte group, byte command, byte answer, params byte[] data) =>
            chapter.Add(id, Must, title, peer => CommandAsync(peer, group, command, data, answer), Needs(VirtioNetFeatures.ControlQueue | feature), Control);
    }

    private static void AddHostile(Chapter chapter)
    {
        foreach (int length in (int[])[1, 9, 10, 11, 12, 13, 25])
            chapter.Add($"r09-send-{length}-bytes", Robustness, $"The device withstands a packet of {length} bytes with its header", peer => ShortAsync(peer, length));
        foreach (int length in (int[])[9_000, 65_550, 70_000])
            chapter.Add($"r09-send-{length}-bytes", Robustness, $"The device withstands a packet of {length} bytes", peer => LongAsync(peer, length));
        foreach (HostileHeader header in HostileHeader.All)
            chapter.Add($"r11-{header.Id}", Robustness, $"The device withstands a header {header.What}", peer => HeaderAsync(peer, header), Needs(header.Needs));
        chapter.Add("r09-send-writable", Robustness, "The device withstands a packet in a buffer that it may write", WritableAsync);
    }

    private static async Task SendAsync(BackendPeer peer, int length)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        await card.SendAsync(NetModel.Packet(peer.Memory, length)).ConfigureAwait(false);
        await card.SendAsync(NetModel.Packet(peer.Memory, length).Cut([12, length / 3, length / 3])).ConfigureAwait(false);
    }

    private static async Task FramedAsync(BackendPeer peer, int[] pieces)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 3; i++)
            await card.SendAsync(NetModel.Packet(peer.Memory, NetModel.SmallestPacket).Cut(pieces)).ConfigureAwait(false);
    }

    private static async Task SendManyAsync(BackendPeer peer)
    {
        NetCard card = await NetCard.OpenAsync(peer, 256).ConfigureAwait(false);
        await peer.WorkManyAsync(card.Transmit, 1000).ConfigureAwait(false);
    }

    private static async Task SendMixedAsync(BackendPeer peer)
    {
        NetCard card = await NetCard.OpenAsync(peer, 64).ConfigureAwait(false);
        Dictionary<uint, Work> offered = [];
        for (int i = 0; i < 16; i++)
        {
            ChainBuffer[] chain = NetModel.Packet(peer.Memory, 60 + (90 * i)).Cut(i % 3 == 0 ? [] : [12, 14 + i]);
            offered[card.Transmit.Offer(chain)] = NetModel.Send(chain);
        }

        card.Transmit.Notify();
        await RingWork.FinishAllAsync(card.Transmit, offered).ConfigureAwait(false);
    }

    private static async Task AfterDisableAsync(BackendPeer peer)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        await peer.EnableAsync(card.Transmit, false).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);
        uint id = card.Transmit.Offer(work.Chain);
        card.Transmit.Notify();
        await peer.BarrierAsync().ConfigureAwait(false);
        await peer.EnableAsync(card.Transmit).ConfigureAwait(false);
        await RingWork.KickAndFinishAsync(card.Transmit, work, id, "the packet of the disabled ring is dropped or taken").ConfigureAwait(false);
        await peer.WorkAsync(card.Transmit).ConfigureAwait(false);
    }

    private static async Task PostedAsync(BackendPeer peer, int buffers, int length)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        card.Post(buffers, length);
        await peer.WorkManyAsync(card.Transmit, 20, 4).ConfigureAwait(false);
        await Task.Delay(peer.Quiet).ConfigureAwait(false);
        card.TakeReceived(length);
    }

    private static async Task StopPostedAsync(BackendPeer peer)
    {
        const int buffers = 8;
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        uint first = card.Receive.Base & 0x7fff;
        card.Post(buffers, 1526);
        await peer.WorkAsync(card.Transmit).ConfigureAwait(false);
        uint stopped = await peer.StopAsync(card.Receive).ConfigureAwait(false);
        int came = card.TakeReceived(1526);
        Expect.Equal((uint)came, (stopped & 0x7fff) - first, "the buffers that the base says are used");
    }

    private static async Task RestartReceiveAsync(BackendPeer peer)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        card.Post(8, 1526);
        await peer.WorkAsync(card.Transmit).ConfigureAwait(false);
        uint stopped = await peer.StopAsync(card.Receive).ConfigureAwait(false);
        await peer.DescribeAsync(card.Receive, stopped).ConfigureAwait(false);
        await peer.SendKickAsync(card.Receive).ConfigureAwait(false);
        await peer.EnableAsync(card.Receive).ConfigureAwait(false);
        await peer.WorkAsync(card.Transmit).ConfigureAwait(false);
    }

    private static async Task TinyAsync(BackendPeer peer, int length)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < 4; i++)
            card.Receive.Offer(new ChainBuffer(peer.Memory.Allocate(64), (uint)length, true));
        card.Receive.Notify();
        await peer.WorkManyAsync(card.Transmit, 4, 1).ConfigureAwait(false);
        _ = await peer.StopAsync(card.Receive).ConfigureAwait(false);
    }

    private static async Task MtuAsync(BackendPeer peer, ulong value)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        await peer.AcceptedAsync(VhostUserRequest.NetSetMtu, BackendPeer.U64(value)).ConfigureAwait(false);
        await peer.WorkAsync(card.Transmit).ConfigureAwait(false);
    }

    private static async Task RarpAsync(BackendPeer peer, int buffers)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        if (buffers > 0)
            card.Post(buffers, 1526);
        await peer.AcceptedAsync(VhostUserRequest.SendRarp, Mac()).ConfigureAwait(false);
        await peer.WorkAsync(card.Transmit).ConfigureAwait(false);
        card.TakeReceived(1526);
    }

    private static byte[] Mac() => [0x02, 0, 0, 0xc0, 0xff, 0xee, 0, 0];

    private static async Task PairsAsync(BackendPeer peer, bool oneByOne)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        DriverRing[] second = [peer.NewRing(2), peer.NewRing(3)];
        foreach (DriverRing ring in second)
        {
            await peer.StartAsync(ring).ConfigureAwait(false);
            if (oneByOne)
                await peer.WorkAsync(card.Transmit).ConfigureAwait(false);
        }

        for (int i = 0; i < 20; i++)
        {
            await peer.WorkAsync(second[1]).ConfigureAwait(false);
            await peer.WorkAsync(card.Transmit).ConfigureAwait(false);
        }
    }

    private static async Task StopSecondAsync(BackendPeer peer)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        DriverRing[] second = [peer.NewRing(2), peer.NewRing(3)];
        foreach (DriverRing ring in second)
            await peer.StartAsync(ring).ConfigureAwait(false);
        second[1].Offer(peer.Device.NewWork(peer.Memory).Chain);
        second[1].Notify();
        if (await second[1].TryUsedAsync(peer.Patience).ConfigureAwait(false) is null)
            throw Expect.Skipped("the second pair is not served at all (pairs-second)");
        foreach (DriverRing ring in second)
            _ = await peer.StopAsync(ring).ConfigureAwait(false);
        await peer.WorkManyAsync(card.Transmit, 20, 4).ConfigureAwait(false);
    }

    private static async Task CommandAsync(BackendPeer peer, byte group, byte command, byte[] data, byte answer)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        DriverRing control = await card.OpenControlAsync().ConfigureAwait(false);
        Expect.Equal(answer, await card.CommandAsync(control, group, command, data).ConfigureAwait(false), "the answer to the command");
        await peer.WorkAsync(card.Transmit).ConfigureAwait(false);
    }

    private static async Task CommandFramingAsync(BackendPeer peer)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        DriverRing control = await card.OpenControlAsync().ConfigureAwait(false);
        Expect.Equal(Done, await card.CommandAsync(control, 0, 0, [1], 1, 1, 1).ConfigureAwait(false), "the answer to the command");
    }

    private static async Task OddCommandAsync(BackendPeer peer, int length, bool answered)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        DriverRing control = await card.OpenControlAsync().ConfigureAwait(false);
        ChainBuffer command = new(peer.Memory.Allocate(length), (uint)length, false);
        ChainBuffer answer = new(peer.Memory.Allocate(1), 1, true);
        control.Offer(answered ? [command, answer] : [command]);
        control.Notify();
        if (await peer.ServedOrStoppedAsync(control).ConfigureAwait(false) is { } used)
            Expect.That(used.Length <= (answered ? 1u : 0u), "a used length of what the device could write", $"{used.Length}");
        else
            peer.NoteRefusal("the command was not answered");
    }

    private static async Task ShortAsync(BackendPeer peer, int length)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        await card.TrySendAsync(NetModel.Packet(peer.Memory, 60) with { Length = (uint)length }).ConfigureAwait(false);
    }

    private static async Task LongAsync(BackendPeer peer, int length)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        await card.TrySendAsync(NetModel.Packet(peer.Memory, length)).ConfigureAwait(false);
    }

    private static async Task HeaderAsync(BackendPeer peer, HostileHeader header)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        ChainBuffer packet = NetModel.Packet(peer.Memory, 1000);
        peer.Memory.WriteBytes(packet.Address, header.Bytes);
        await card.TrySendAsync(packet).ConfigureAwait(false);
    }

    private static async Task WritableAsync(BackendPeer peer)
    {
        NetCard card = await NetCard.OpenAsync(peer).ConfigureAwait(false);
        await card.TrySendAsync(NetModel.Packet(peer.Memory, 60) with { IsWritable = true }).ConfigureAwait(false);
    }

    private static CaseNeeds Needs(VirtioNetFeatures features) => _card with { Features = (VirtioFeatures)(ulong)features };
}
