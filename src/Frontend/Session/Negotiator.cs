using System.Globalization;
using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Agrees on features in the order every known back-end accepts: SET_OWNER first (rust-vmm, crosvm), protocol features before SET_FEATURES
/// but only when bit 30 is offered, NEED_REPLY only after REPLY_ACK is acknowledged and never on the message that acknowledges it.
/// </summary>
internal sealed class Negotiator(VhostUserRequestClient requests, VhostUserFrontendOptions options, ILogger log)
{
    private VirtioFeatures _offered;

    /// <summary>Of those, the ones that can be acknowledged.</summary>
    private VirtioFeatures _usable;
    private VhostUserProtocolFeatures _offeredProtocol;
    private VhostUserProtocolFeatures _protocol;

    private VirtioFeatures WantedFeatures => (options.WantedFeatures | options.RequiredFeatures | options.ImpliedFeatures) & ~VirtioFeatures.VhostUserProtocolFeatures;

    private VhostUserProtocolFeatures WantedProtocol => options.WantedProtocolFeatures | options.RequiredProtocolFeatures | options.ImpliedProtocolFeatures;

    /// <summary>Everything up to, not including, SET_BACKEND_REQ_FD and SET_FEATURES.</summary>
    public async ValueTask<NegotiationSummary> RunAsync(CancellationToken cancellationToken)
    {
        await requests.SetOwnerAsync(cancellationToken).ConfigureAwait(false);
        _offered = await requests.GetFeaturesAsync(cancellationToken).ConfigureAwait(false);
        _usable = _offered;
        if ((_offered & VirtioFeatures.VhostUserProtocolFeatures) != 0)
            await NegotiateProtocolAsync(cancellationToken).ConfigureAwait(false);
        WithholdIommu();
        RefuseWhatIsMissing();
        RefuseWhatShrank();

        ulong? queueNumber = Has(VhostUserProtocolFeatures.MultiQueue)
            ? await requests.GetQueueNumAsync(cancellationToken).ConfigureAwait(false)
            : null;
        ulong? slots = Has(VhostUserProtocolFeatures.ConfigureMemSlots)
            ? await requests.GetMaxMemSlotsAsync(cancellationToken).ConfigureAwait(false)
            : null;
        return Summarise(queueNumber, slots);
    }

    private async ValueTask NegotiateProtocolAsync(CancellationToken cancellationToken)
    {
        _offeredProtocol = await requests.GetProtocolFeaturesAsync(cancellationToken).ConfigureAwait(false);
        VhostUserProtocolFeatures unknown = _offeredProtocol & ~VhostUserProtocolFeatures.All;
        if (unknown != 0)
            FrontendLog.UnknownProtocolBits(log, (ulong)unknown);

        // The mask keeps a bit that nobody here knows from being acknowledged, whatever was wanted.
        _protocol = ProtocolFeatureRules.WithoutOrphans(_offeredProtocol & WantedProtocol & VhostUserProtocolFeatures.All);
        // The specification does not say what the two mean together.
        if (Has(VhostUserProtocolFeatures.PageFault) && !options.RequiredProtocolFeatures.HasFlag(VhostUserProtocolFeatures.ConfigureMemSlots))
            _protocol &= ~VhostUserProtocolFeatures.ConfigureMemSlots;
        await requests.SetProtocolFeaturesAsync(_protocol, cancellationToken).ConfigureAwait(false);
        if (Has(VhostUserProtocolFeatures.ReplyAck))
            requests.Acknowledgements = AcknowledgementPolicy.RequestsWithoutReply;
    }

    private bool Has(VhostUserProtocolFeatures feature) => (_protocol & feature) != 0;

    /// <summary>Translations need a channel on which the back-end asks, and answers to what is withdrawn: without them ACCESS_PLATFORM is of no use.</summary>
    private void WithholdIommu()
    {
        if (options.Iommu is not null && !(Has(VhostUserProtocolFeatures.BackendReq) && Has(VhostUserProtocolFeatures.ReplyAck)))
            _usable &= ~VirtioFeatures.AccessPlatform;
    }

    private void RefuseWhatIsMissing()
    {
        VirtioFeatures missing = options.RequiredFeatures & ~_usable;
        VhostUserProtocolFeatures missingProtocol = options.RequiredProtocolFeatures & ~_protocol;
        if (missing == 0 && missingProtocol == 0)
            return;
        throw new VhostUserFeatureException(
            $"The back-end lacks what this front-end requires: features {Describe(missing)}, protocol features " +
            $"{FeatureNames.Describe(missingProtocol)}. It offers features {Describe(_offered)}, protocol features " +
            $"{FeatureNames.Describe(_offeredProtocol)}.",
            missing,
            missingProtocol);
    }

    private void RefuseWhatShrank()
    {
        if (options.Replaces is not { } before)
            return;
        VirtioFeatures lost = before.AcknowledgedFeatures & ~_usable;
        VhostUserProtocolFeatures lostProtocol = before.AcknowledgedProtocolFeatures & ~_protocol;
        if (lost == 0 && lostProtocol == 0)
            return;
        throw new VhostUserFeatureException(
            $"The back-end offers less than when the session it replaces was made: gone are features {Describe(lost)}, protocol " +
            $"features {FeatureNames.Describe(lostProtocol)}. A running driver cannot give acknowledged features back; restart the device.",
            lost,
            lostProtocol);
    }

    private NegotiationSummary Summarise(ulong? queueNumber, ulong? slots)
    {
        VirtioFeatures acknowledged = _usable & WantedFeatures;
        if ((_offered & VirtioFeatures.VhostUserProtocolFeatures) != 0)
            acknowledged |= VirtioFeatures.VhostUserProtocolFeatures;
        return new NegotiationSummary
        {
            OfferedFeatures = _offered,
            WantedFeatures = WantedFeatures,
            AcknowledgedFeatures = acknowledged,
            OfferedProtocolFeatures = _offeredProtocol,
            WantedProtocolFeatures = WantedProtocol,
            AcknowledgedProtocolFeatures = _protocol,
            QueuesAsked = options.Queues,
            QueueNumberAnswer = queueNumber,
            MaxQueues = queueNumber is { } number ? ClampQueues(number) : options.QueuesWithoutMultiQueue,
            MemorySlotsAnswer = slots,
            MaxMemorySlots = slots is { } answer ? ClampSlots(answer) : VringLimits.MaxTableRegions,
            FeatureName = options.FeatureName,
        };
    }

    private string Describe(VirtioFeatures features) => FeatureNames.Describe(features, options.FeatureName);

    private int ClampQueues(ulong answer)
    {
        RefuseZero(VhostUserRequest.GetQueueNum, answer, "a device has at least one queue");
        int unit = options.QueueNumberCountsPairs ? 2 : 1;
        return (int)Math.Min(answer, (ulong)(VringLimits.MaxQueues / unit)) * unit;
    }

    private static int ClampSlots(ulong answer)
    {
        RefuseZero(VhostUserRequest.GetMaxMemSlots, answer, "without memory there are no rings");
        return (int)Math.Min(answer, VringLimits.MaxMemorySlots);
    }

    private static void RefuseZero(VhostUserRequest request, ulong answer, string why)
    {
        if (answer != 0)
            return;
        string name = MessageContracts.NameOf(VhostUserChannel.Main, (uint)request);
        throw new VhostUserProtocolException(
            VhostUserViolation.BadValue,
            string.Create(CultureInfo.InvariantCulture, $"{name}: the back-end answered 0; {why}."))
        {
            RequestCode = (uint)request,
        };
    }
}
