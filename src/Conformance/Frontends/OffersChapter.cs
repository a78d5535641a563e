using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Back-ends that offer less than others, or more than there is (F05, F06).</summary>
internal static class OffersChapter
{
    public static FrontendChapter Cases { get; } = Create();

    private static FrontendChapter Create()
    {
        FrontendChapter chapter = new("offers", "vhost-user: Feature negotiation, Protocol features")
        {
            { "no-protocol-features", Must, "A back-end without bit 30 is asked for no protocol feature", NoProtocolFeaturesAsync },
            { "no-protocol-bit", Must, "A back-end that offers no protocol bit is served without them, or refused", static peer => OfferingAsync(peer, static script => script.Protocol = VhostUserProtocolFeatures.None) },
            { "unknown-features", Must, "Feature bits that nobody knows are not acknowledged", UnknownFeaturesAsync },
            { "unknown-protocol-bits", Must, "Protocol bits that nobody knows are not acknowledged", UnknownProtocolAsync },
            { "no-version-1", Should, "A back-end without VERSION_1 is served as a legacy device, or refused", static peer => OfferingAsync(peer, static script => script.Features &= ~VirtioFeatures.Version1) },
            { "f06-no-queues", Robustness, "A back-end that says it has no queue does no harm", static peer => OfferingAsync(peer, static script => script.Queues = 0) },
            { "f06-many-queues", Robustness, "A back-end that says it has 2^64-1 queues does no harm", static peer => OfferingAsync(peer, static script => script.Queues = ulong.MaxValue) },
            { "f06-no-slots", Robustness, "A back-end that says it has no memory slot does no harm", static peer => OfferingAsync(peer, static script => script.Slots = 0) },
            { "one-slot", Must, "A back-end with one memory slot is given one region, or is refused", OneSlotAsync, "", "vhost-user: VHOST_USER_GET_MAX_MEM_SLOTS" },
            { "f05-fewer-features", Must, "A virtio feature that other back-ends offer is not used with one that does not", static peer => OfferingAsync(peer, static script => script.Features &= ~VirtioFeatures.IndirectDescriptors) },
            { "f05-every-feature", Robustness, "A back-end that offers every feature bit does no harm", static peer => EveryAsync(peer, static script => script.Features = (VirtioFeatures)ulong.MaxValue) },
            { "f05-every-protocol-bit", Robustness, "A back-end that offers every protocol bit does no harm", static peer => EveryAsync(peer, static script => script.Protocol = (VhostUserProtocolFeatures)ulong.MaxValue) },
            { "f06-many-slots", Robustness, "A back-end that says it has 2^64-1 memory slots does no harm", static peer => OfferingAsync(peer, static script => script.Slots = ulong.MaxValue) },
        };
        for (int bit = 0; bit < 24; bit++)
        {
            VhostUserProtocolFeatures withheld = (VhostUserProtocolFeatures)(1UL << bit);
            if ((new BackendScript("blk").Protocol & withheld) != 0)
                chapter.Add($"without-{FeatureNames.OfProtocolBit(bit).ToLowerInvariant().Replace('_', '-')}", Must, $"A back-end without {FeatureNames.OfProtocolBit(bit)} gets no message that belongs to it", peer => WithoutAsync(peer, withheld));
        }

        return chapter;
    }

    private static async Task NoProtocolFeaturesAsync(FrontendPeer peer)
    {
        peer.Script.Features &= ~VirtioFeatures.VhostUserProtocolFeatures;
        peer.Play();
        await peer.ToleratesAsync().ConfigureAwait(false);
        FrontendRules.JudgeAll(peer);
    }

    private static async Task OfferingAsync(FrontendPeer peer, Action<BackendScript> change)
    {
        change(peer.Script);
        peer.Play();
        await peer.ToleratesAsync().ConfigureAwait(false);
        FrontendRules.JudgeAll(peer);
    }

    private static async Task OneSlotAsync(FrontendPeer peer)
    {
        peer.Script.Slots = 1;
        peer.Play();
        await peer.ToleratesAsync().ConfigureAwait(false);
        if (!peer.Said.Any(static message => message.Request == VhostUserRequest.GetMaxMemSlots))
            throw Expect.Skipped("the front-end does not ask for the number of slots");
        SaidMemory memory = new(peer);
        foreach (SaidMessage message in peer.Said)
            memory.Judge(message);
        Expect.That(memory.Most <= 1, "at most one region at once", $"{memory.Most}");
    }

    /// <summary>The suite cannot play all that there is: what the front-end does then is looked at until its rings are started.</summary>
    private static async Task EveryAsync(FrontendPeer peer, Action<BackendScript> change)
    {
        change(peer.Script);
        peer.Script.ServesRings = false;
        peer.Play();
        await peer.HoldsAsync(() => peer.Said.Any(static message => message.Request == VhostUserRequest.SetVringKick)).ConfigureAwait(false);
        await peer.MayLeaveAsync().ConfigureAwait(false);
    }

    private static async Task UnknownFeaturesAsync(FrontendPeer peer)
    {
        const ulong unknown = 0xffUL << 52;
        peer.Script.Features |= (VirtioFeatures)unknown;
        await peer.ServedAsync().ConfigureAwait(false);
        Expect.Equal(0UL, (ulong)peer.State.Features & unknown, "the unknown bits in SET_FEATURES");
    }

    private static async Task UnknownProtocolAsync(FrontendPeer peer)
    {
        const ulong unknown = 0xffUL << 48;
        peer.Script.Protocol |= (VhostUserProtocolFeatures)unknown;
        await peer.ServedAsync().ConfigureAwait(false);
        Expect.Equal(0UL, (ulong)peer.State.Protocol & unknown, "the unknown bits in SET_PROTOCOL_FEATURES");
    }

    private static async Task WithoutAsync(FrontendPeer peer, VhostUserProtocolFeatures withheld)
    {
        peer.Script.Protocol &= ~withheld;
        peer.Play();
        await peer.ToleratesAsync().ConfigureAwait(false);
        FrontendRules.JudgeAll(peer);
        foreach (SaidMessage message in peer.Said)
        {
            bool known = MessageContracts.TryGet(message.Request, out MessageContract? contract);
            bool belongs = known && ((contract!.RequiredProtocolFeatures | contract.RequiredOfferedProtocolFeatures) & withheld) != 0;
            Expect.That(!belongs, $"no message that belongs to {FeatureNames.Describe(withheld)}", message.Name);
        }
    }
}
