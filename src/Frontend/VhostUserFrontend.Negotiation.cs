using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

public sealed partial class VhostUserFrontend
{
    /// <summary>
    /// Acknowledges virtio features again, after the guest's driver has chosen: SET_FEATURES with bit 30 kept. While rings run only
    /// LOG_ALL may change.
    /// </summary>
    /// <param name="acknowledged">A part of <see cref="OfferedFeatures"/>; bit 30 is added when protocol features are in use, and LOG_ALL while the back-end logs (<see cref="IsLogging"/>).</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when the back-end has taken them.</returns>
    /// <exception cref="VhostUserFeatureException">Something is not offered.</exception>
    /// <exception cref="InvalidOperationException">Rings run and more than LOG_ALL would change.</exception>
    public async ValueTask SetFeaturesAsync(VirtioFeatures acknowledged, CancellationToken cancellationToken = default)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        acknowledged &= ~VirtioFeatures.VhostUserProtocolFeatures;
        VirtioFeatures missing = acknowledged & ~OfferedFeatures;
        if (missing != 0)
        {
            throw new VhostUserFeatureException(
                $"VHOST_USER_SET_FEATURES: {Describe(missing)} not offered; offered are {Describe(OfferedFeatures)}.",
                missing,
                VhostUserProtocolFeatures.None);
        }

        acknowledged |= OfferedFeatures & VirtioFeatures.VhostUserProtocolFeatures;
        acknowledged |= IsLogging ? VirtioFeatures.LogAll : VirtioFeatures.None;
        if (((acknowledged ^ AcknowledgedFeatures) & ~VirtioFeatures.LogAll) != 0 && RunningRings().Any())
            throw new InvalidOperationException("Rings run: only LOG_ALL may change. Stop them before acknowledging other features.");
        await SendFeaturesAsync(acknowledged, cancellationToken).ConfigureAwait(false);
        AttachIommu();
        await ConfirmAsync(cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask NegotiateAsync(CancellationToken cancellationToken)
    {
        NegotiationSummary summary = await new Negotiator(Requests, _options, _log).RunAsync(cancellationToken).ConfigureAwait(false);
        Volatile.Write(ref _negotiated, summary);
        MarkUsed(summary.AcknowledgedProtocolFeatures &
            (VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.ConfigureMemSlots));
        if (summary.HasBackendChannel)
            await OpenBackendChannelAsync(cancellationToken).ConfigureAwait(false);
        await SendFeaturesAsync(summary.AcknowledgedFeatures, cancellationToken).ConfigureAwait(false);
        AttachIommu();
        await ConfirmAsync(cancellationToken).ConfigureAwait(false);
        FrontendLog.SessionReady(
            _log,
            _peer,
            summary.QueueCount,
            Describe(summary.AcknowledgedFeatures),
            FeatureNames.Describe(summary.AcknowledgedProtocolFeatures));
    }

    private string Describe(VirtioFeatures features) => FeatureNames.Describe(features, _options.FeatureName);

    private async ValueTask SendFeaturesAsync(VirtioFeatures acknowledged, CancellationToken cancellationToken)
    {
        // A running device keeps its status: only the log can have changed.
        bool isNegotiation = !RunningRings().Any();
        await Requests.SetFeaturesAsync(acknowledged, cancellationToken).ConfigureAwait(false);
        Volatile.Write(ref _negotiated, Negotiated with { AcknowledgedFeatures = acknowledged });
        if (isNegotiation && Has(VhostUserProtocolFeatures.Status))
            await AnnounceFeaturesOkAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Listens before the back-end has its end, so that no request of its own finds nobody.</summary>
    private async ValueTask OpenBackendChannelAsync(CancellationToken cancellationToken)
    {
        (VhostUserConnection ours, SafeFileHandle theirs) = VhostUserConnection.CreatePairWithHandle(
            _peer + ", back-end channel", new VhostUserConnectionOptions { TimeProvider = _options.TimeProvider, Logger = _log });
        using (theirs)
        {
            if (_options.Iommu is not null)
                _misses = new MissQueue(AnswerLaterAsync);
            BackendRequestDispatcher dispatcher = new(new SessionRequests(this, _options.SharedObjects, _options.BackendRequests), _configChanges, _log);
            _listener = new BackendRequestListener(ours, dispatcher, TryAnswerLaterAsync, CurrentState, OnBackendChannelLost, _log);
            await Requests.SetBackendReqFdAsync(theirs, cancellationToken).ConfigureAwait(false);
        }

        MarkUsed(VhostUserProtocolFeatures.BackendReq);
    }

    /// <summary>A session goes on without, unless interrupts of its rings or questions for translations come that way: they would hang.</summary>
    private void OnBackendChannelLost(string reason)
    {
        string? needed = IsInband ? "interrupts come (INBAND_NOTIFICATIONS)" : UsesIommu ? "the device asks for translations (ACCESS_PLATFORM)" : null;
        if (needed is not null)
            _channel.Abort(new VhostUserDisconnectedException($"{_peer}: the back-end channel is lost, by which {needed}: {reason}", new IOException(reason)));
    }

    private NegotiatedState CurrentState()
    {
        NegotiationSummary now = Negotiated;
        return new NegotiatedState(now.OfferedFeatures, now.AcknowledgedFeatures, now.OfferedProtocolFeatures, now.AcknowledgedProtocolFeatures);
    }
}
