using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <content>The orders in which known front-ends say their first messages.</content>
internal static partial class NegotiationChapter
{
    private static void AddOrders(Chapter chapter)
    {
        const string section = "vhost-user: Front-end and back-end communication";
        chapter.Add("order-qemu", Should, "QEMU's order of the first messages, in which SET_OWNER comes late, is served", QemuAsync, CaseNeeds.Working, section);
        chapter.Add("order-virtio-user", Must, "DPDK virtio-user's order of the first messages is served", VirtioUserAsync, CaseNeeds.Working, section);
        chapter.Add("order-spdk", Should, "SPDK's order of the first messages is served", SpdkAsync, CaseNeeds.Working, section);
        chapter.Add("order-cloud-hypervisor", Must, "Cloud Hypervisor's order of the first messages is served", CloudHypervisorAsync, CaseNeeds.Working, section);
        chapter.Add("order-crosvm", Must, "crosvm's order of the first messages is served", CrosvmAsync, CaseNeeds.Working, section);
        chapter.Add("order-firecracker", Must, "Firecracker's order of the first messages is served", FirecrackerAsync, CaseNeeds.Working, section);
        chapter.Add(
            "order-libblkio", Should, "libblkio's order of the first messages is served", LibblkioAsync,
            CaseNeeds.Working with { Protocol = VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.ConfigureMemSlots }, section);
    }

    private static async Task QemuAsync(BackendPeer peer)
    {
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        await AgreeProtocolAsync(peer, VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.BackendReq).ConfigureAwait(false);
        if ((peer.State.Protocol & VhostUserProtocolFeatures.MultiQueue) != 0)
            await peer.AskU64Async(VhostUserRequest.GetQueueNum).ConfigureAwait(false);
        if ((peer.State.Protocol & VhostUserProtocolFeatures.BackendReq) != 0)
            _ = await peer.OpenBackendChannelAsync().ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        List<DriverRing> rings = peer.NewRings();
        await peer.SayRingsAsync(rings, "CALL ENABLE").ConfigureAwait(false);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.SayRingsAsync(rings, "NUM BASE ADDR KICK CALL").ConfigureAwait(false);
        await peer.SayRingsAsync(rings, "ENABLE").ConfigureAwait(false);
        await peer.WorkAsync(rings[^1]).ConfigureAwait(false);
    }

    private static async Task VirtioUserAsync(BackendPeer peer)
    {
        await BeginAsync(peer, VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.Status).ConfigureAwait(false);
        List<DriverRing> rings = peer.NewRings();
        await peer.SayRingsAsync(rings, "CALL").ConfigureAwait(false);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.SayRingsAsync(rings, "NUM BASE ADDR KICK").ConfigureAwait(false);
        await peer.SayRingsAsync(rings, "ENABLE").ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.WorkAsync(rings[^1]).ConfigureAwait(false);
    }

    private static async Task SpdkAsync(BackendPeer peer)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await AgreeProtocolAsync(peer, VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.Config).ConfigureAwait(false);
        List<DriverRing> rings = peer.NewRings();
        await peer.SayRingsAsync(rings, "ENABLE CALL").ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        await peer.SayRingsAsync(rings, "NUM BASE ADDR KICK").ConfigureAwait(false);
        await peer.WorkAsync(rings[^1]).ConfigureAwait(false);
    }

    private static async Task CloudHypervisorAsync(BackendPeer peer)
    {
        await BeginAsync(peer, VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.ReplyAck).ConfigureAwait(false);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        List<DriverRing> rings = peer.NewRings();
        await peer.SayRingsAsync(rings, "NUM").ConfigureAwait(false);
        await peer.SayRingsAsync(rings, "ADDR BASE CALL KICK").ConfigureAwait(false);
        await peer.SayRingsAsync(rings, "ENABLE").ConfigureAwait(false);
        await peer.WorkAsync(rings[^1]).ConfigureAwait(false);
    }

    private static async Task CrosvmAsync(BackendPeer peer)
    {
        await BeginAsync(peer, VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.BackendReq).ConfigureAwait(false);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        IReadOnlyList<DriverRing> rings = await peer.SayRingsAsync("NUM ADDR BASE CALL KICK ENABLE").ConfigureAwait(false);
        await peer.WorkAsync(rings[^1]).ConfigureAwait(false);
    }

    private static async Task FirecrackerAsync(BackendPeer peer)
    {
        await BeginAsync(peer, VhostUserProtocolFeatures.Config).ConfigureAwait(false);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        List<DriverRing> rings = peer.NewRings();
        await peer.SayRingsAsync(rings, "NUM").ConfigureAwait(false);
        await peer.SayRingsAsync(rings, "ADDR BASE CALL KICK ENABLE").ConfigureAwait(false);
        await peer.WorkAsync(rings[^1]).ConfigureAwait(false);
    }

    private static async Task LibblkioAsync(BackendPeer peer)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        await AgreeFeaturesAsync(peer).ConfigureAwait(false);
        await AgreeProtocolAsync(peer, VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.ConfigureMemSlots | VhostUserProtocolFeatures.MultiQueue).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetMaxMemSlots).ConfigureAwait(false);
        await peer.AddRegionAsync(0).ConfigureAwait(false);
        IReadOnlyList<DriverRing> rings = await peer.SayRingsAsync("NUM BASE ADDR KICK CALL ENABLE").ConfigureAwait(false);
        await peer.WorkAsync(rings[^1]).ConfigureAwait(false);
    }

    private static async Task BeginAsync(BackendPeer peer, VhostUserProtocolFeatures wanted)
    {
        await peer.SendAsync(VhostUserRequest.SetOwner).ConfigureAwait(false);
        await peer.AskU64Async(VhostUserRequest.GetFeatures).ConfigureAwait(false);
        await AgreeProtocolAsync(peer, wanted).ConfigureAwait(false);
    }

    private static async Task AgreeProtocolAsync(BackendPeer peer, VhostUserProtocolFeatures wanted)
    {
        if (!peer.Profile.Offers(VirtioFeatures.VhostUserProtocolFeatures))
            return;
        VhostUserProtocolFeatures offered = (VhostUserProtocolFeatures)await peer.AskU64Async(VhostUserRequest.GetProtocolFeatures).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetProtocolFeatures, BackendPeer.U64((ulong)(wanted & offered))).ConfigureAwait(false);
        peer.NoteAgreed(peer.State.Features | VirtioFeatures.VhostUserProtocolFeatures, wanted & offered);
    }

    private static Task AgreeFeaturesAsync(BackendPeer peer)
    {
        peer.NoteAgreed((VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures) & peer.Profile.Features, peer.State.Protocol);
        return peer.SendAsync(VhostUserRequest.SetFeatures, BackendPeer.U64((ulong)peer.State.Features));
    }

    /// <summary>What follows the negotiation, up to work that is done.</summary>
    private static async Task ServedAsync(BackendPeer peer)
    {
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        if (peer.Device.CanWork)
            await peer.WorkAsync(await peer.StartRingsAsync().ConfigureAwait(false)).ConfigureAwait(false);
        else
            await peer.BarrierAsync().ConfigureAwait(false);
    }
}
