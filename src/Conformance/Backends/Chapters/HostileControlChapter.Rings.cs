using System.Runtime.InteropServices;
using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <content>What is said of rings.</content>
internal static partial class HostileControlChapter
{
    private const string Numbers = "vhost-user: VHOST_USER_SET_VRING_NUM";
    private const string Addresses = "vhost-user: VHOST_USER_SET_VRING_ADDR";

    private static void AddRings(Chapter chapter)
    {
        AddPolling(chapter);
        AddIndices(chapter);
        foreach (uint size in (uint[])[0, 1, 2, 3, 5, 32_768, 32_769, 65_535, 65_536, uint.MaxValue])
            chapter.Add($"b14-{size}", Robustness, $"B14: A ring of the size {size} does not harm the back-end", peer => SizeAsync(peer, size), CaseNeeds.Working, Numbers);
        foreach (string word in (string[])["NUM", "BASE", "ADDR", "NUM BASE ADDR"])
            chapter.Add($"b15-{word.ToLowerInvariant().Replace(' ', '-')}", Robustness, $"B15: {word} of a ring that runs is borne or refused", peer => WhileRunningAsync(peer, word), CaseNeeds.Working);
        chapter.Add("b15-size-other", Robustness, "B15: Another size for a ring that runs does not harm the back-end", OtherSizeAsync, CaseNeeds.Working, Numbers);
        chapter.Add("b16-often", Robustness, "B16: SET_VRING_NUM two thousand times is borne", OftenAsync, null, Numbers);
        AddAddresses(chapter);
        foreach (uint start in (uint[])[17, 0x8000, 0xffff, 0x1_0000, 0x7fff_7fff, uint.MaxValue])
            chapter.Add($"b18-{start:x}", Robustness, $"B18: A ring that begins at 0x{start:x} does not harm the back-end", peer => BaseAsync(peer, start), CaseNeeds.Working, "vhost-user: VHOST_USER_SET_VRING_BASE");
        chapter.Add("b24-running", Robustness, "B24: Other features while rings run are borne or refused", FeaturesRunningAsync, CaseNeeds.Working, "vhost-user: VHOST_USER_SET_FEATURES");
        chapter.Add("b24-none-running", Robustness, "B24: No features at all while rings run are borne or refused", static peer => SetFeaturesRunningAsync(peer, 0), CaseNeeds.Working, "vhost-user: VHOST_USER_SET_FEATURES");
        AddNotifiers(chapter);
    }

    private static void AddPolling(Chapter chapter)
    {
        chapter.Add("b11-kick", Robustness, "B11: A ring without a kick descriptor is borne or refused", static peer => PollingAsync(peer, VhostUserRequest.SetVringKick), CaseNeeds.Working);
        chapter.Add("b11-err", Robustness, "B11: A ring without an error descriptor is borne or refused", static peer => PollingAsync(peer, VhostUserRequest.SetVringErr), CaseNeeds.Working);
        foreach (VhostUserRequest request in (VhostUserRequest[])[VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.SetVringErr])
        {
            string name = MessageContracts.NameOf(request)["VHOST_USER_".Length..];
            chapter.Add($"b11-both-{name["SET_VRING_".Length..].ToLowerInvariant()}", Robustness, $"B11: {name} that says no descriptor and has one is borne or refused", peer => BothAsync(peer, request), CaseNeeds.Working);
        }
    }

    private static async Task PollingAsync(BackendPeer peer, VhostUserRequest request)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.ToleratedAsync(request, BackendPeer.RingWord(ring.Index, noDescriptor: true)).ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static async Task BothAsync(BackendPeer peer, VhostUserRequest request)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.ToleratedAsync(request, BackendPeer.RingWord(ring.Index, noDescriptor: true), peer.Own(new EventNotifier()).Descriptor).ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static void AddIndices(Chapter chapter)
    {
        VhostUserRequest[] states = [VhostUserRequest.SetVringNum, VhostUserRequest.SetVringBase, VhostUserRequest.GetVringBase, VhostUserRequest.SetVringEnable, VhostUserRequest.SetVringAddr];
        foreach (VhostUserRequest request in states)
        {
            foreach (uint index in (uint[])[1000, 0x1_0000, 0x8000_0000, uint.MaxValue])
                AddIndex(chapter, request, $"{index:x}", $"ring 0x{index:x}", IndexPayload(request, index));
        }

        foreach (VhostUserRequest request in (VhostUserRequest[])[VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.SetVringErr])
        {
            AddIndex(chapter, request, "ff", "ring 255", BackendPeer.U64(255));
            AddIndex(chapter, request, "junk", "reserved bits that are set", BackendPeer.U64(0xffff_ffff_ffff_fe00));
        }
    }

    private static byte[] IndexPayload(VhostUserRequest request, uint index) =>
        request == VhostUserRequest.SetVringAddr ? [.. BitConverter.GetBytes(index), .. new byte[36]] : BackendPeer.RingState(index, request == VhostUserRequest.SetVringNum ? 16u : 0);

    private static void AddIndex(Chapter chapter, VhostUserRequest request, string id, string what, byte[] payload)
    {
        string name = MessageContracts.NameOf(request)["VHOST_USER_".Length..];
        bool takesDescriptor = request is VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringErr;
        chapter.Add(
            $"b13-{name.ToLowerInvariant().Replace('_', '-')}-{id}", Robustness, $"B13: {name} with {what} is {(takesDescriptor ? "borne or refused" : "refused")}",
            peer => IndexAsync(peer, request, payload, takesDescriptor));
    }

    private static async Task IndexAsync(BackendPeer peer, VhostUserRequest request, byte[] payload, bool takesDescriptor)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        SafeHandle[] descriptors = takesDescriptor ? [peer.Own(new EventNotifier()).Descriptor] : [];
        if (takesDescriptor)
            await peer.ToleratedAsync(request, payload, descriptors).ConfigureAwait(false);
        else
            await peer.RefusedAsync(request, payload).ConfigureAwait(false);
    }

    private static async Task SizeAsync(BackendPeer peer, uint size)
    {
        DriverRing ring = await peer.BeginRingsAsync().ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetVringNum, BackendPeer.RingState((uint)ring.Index, size)).ConfigureAwait(false);
        await peer.SayRingAsync(ring, "BASE ADDR CALL KICK ENABLE").ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static async Task BaseAsync(BackendPeer peer, uint start)
    {
        DriverRing ring = await peer.BeginRingsAsync().ConfigureAwait(false);
        await peer.DescribeAsync(ring, start).ConfigureAwait(false);
        await peer.SayRingAsync(ring, "KICK ENABLE").ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static async Task WhileRunningAsync(BackendPeer peer, string words)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.SayRingAsync(ring, words).ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static async Task OtherSizeAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetVringNum, BackendPeer.RingState((uint)ring.Index, 32_768)).ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static async Task OftenAsync(BackendPeer peer)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        for (int i = 0; i < 2000; i++)
            await peer.SendAsync(VhostUserRequest.SetVringNum, BackendPeer.RingState(0, 1u << (4 + (i % 4)))).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static void AddAddresses(Chapter chapter)
    {
        (string Id, string What, Func<VhostUserVringAddress, VhostUserVringAddress> Change)[] changes =
        [
            ("descriptors-nowhere", "whose descriptors are nowhere", static said => said with { DescriptorTable = new(0x10) }),
            ("available-nowhere", "whose available ring is nowhere", static said => said with { AvailableRing = new(0x10) }),
            ("used-nowhere", "whose used ring is nowhere", static said => said with { UsedRing = new(0x10) }),
            ("descriptors-odd", "whose descriptors are not aligned", static said => said with { DescriptorTable = new(said.DescriptorTable.Value + 1) }),
            ("available-odd", "whose available ring is not aligned", static said => said with { AvailableRing = new(said.AvailableRing.Value + 1) }),
            ("used-odd", "whose used ring is not aligned", static said => said with { UsedRing = new(said.UsedRing.Value + 1) }),
            ("descriptors-end", "whose descriptors go beyond the memory", static said => said with { DescriptorTable = new(CaseMemory.UserOffset + CaseMemory.StandardSize - 16) }),
            ("available-behind", "whose available ring lies behind the memory", static said => said with { AvailableRing = new(CaseMemory.UserOffset + CaseMemory.StandardSize) }),
            ("used-behind", "whose used ring lies behind the memory", static said => said with { UsedRing = new(CaseMemory.UserOffset + CaseMemory.StandardSize) }),
            ("wraps", "whose addresses wrap", static said => said with { DescriptorTable = new(ulong.MaxValue - 15), AvailableRing = new(ulong.MaxValue - 3), UsedRing = new(ulong.MaxValue - 3) }),
            ("overlap", "whose parts lie in one place", static said => said with { AvailableRing = said.DescriptorTable, UsedRing = said.DescriptorTable }),
            ("zero", "whose addresses are 0", static said => said with { DescriptorTable = new(0), AvailableRing = new(0), UsedRing = new(0) }),
            ("flags", "with flags that nobody knows", static said => said with { Flags = 0xffff_fffe }),
        ];
        foreach ((string id, string what, Func<VhostUserVringAddress, VhostUserVringAddress> change) in changes)
            chapter.Add($"b17-{id}", Robustness, $"B17: A ring {what} does not harm the back-end", peer => AddressAsync(peer, change), CaseNeeds.Working, Addresses);
        chapter.Add("b17-shared", Robustness, "B17: Two rings in one place do not harm the back-end", SharedAsync, CaseNeeds.Working with { Queues = 2 }, Addresses);
    }

    private static async Task AddressAsync(BackendPeer peer, Func<VhostUserVringAddress, VhostUserVringAddress> change)
    {
        DriverRing ring = await peer.BeginRingsAsync().ConfigureAwait(false);
        await peer.DescribeAsync(ring, null, change(ring.Address)).ConfigureAwait(false);
        await peer.SayRingAsync(ring, "KICK ENABLE").ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static async Task SharedAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        DriverRing second = peer.NewRing(ring.Index == 0 ? 1 : 0);
        await peer.DescribeAsync(second, null, ring.Address with { Index = (uint)second.Index }).ConfigureAwait(false);
        await peer.SayRingAsync(second, "KICK ENABLE").ConfigureAwait(false);
        second.Notify();
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static Task FeaturesRunningAsync(BackendPeer peer) =>
        SetFeaturesRunningAsync(peer, (ulong)(peer.Profile.Features & ~(VirtioFeatures.AccessPlatform | VirtioFeatures.LogAll)));

    private static async Task SetFeaturesRunningAsync(BackendPeer peer, ulong features)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        await peer.WorkAsync(ring).ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetFeatures, BackendPeer.U64(features)).ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static void AddNotifiers(Chapter chapter)
    {
        chapter.Add("b40-storm", Robustness, "B40: A kick descriptor that is signalled ten thousand times is borne", StormAsync, CaseNeeds.Working);
        chapter.Add("b40-kick-is-call", Robustness, "B40: One descriptor for kicks and calls is borne or refused", KickIsCallAsync, CaseNeeds.Working);
        chapter.Add("b40-shared", Robustness, "B40: One kick descriptor for two rings is borne or refused", SharedKickAsync, CaseNeeds.Working with { Queues = 2 });
    }

    private static async Task StormAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        for (int i = 0; i < 10_000; i++)
            ring.Kick.Signal();
        await peer.WorkAsync(ring).ConfigureAwait(false);
    }

    private static async Task KickIsCallAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.BeginRingsAsync().ConfigureAwait(false);
        await peer.SayRingAsync(ring, "NUM BASE ADDR").ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetVringCall, BackendPeer.RingWord(ring.Index), ring.Kick.Descriptor).ConfigureAwait(false);
        await peer.SayRingAsync(ring, "KICK ENABLE").ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }

    private static async Task SharedKickAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
        DriverRing second = peer.NewRing(ring.Index == 0 ? 1 : 0, place: 3);
        await peer.DescribeAsync(second).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetVringKick, BackendPeer.RingWord(second.Index), ring.Kick.Descriptor).ConfigureAwait(false);
        await peer.SayRingAsync(second, "ENABLE").ConfigureAwait(false);
        await peer.UsedOrNotAsync(ring).ConfigureAwait(false);
    }
}
