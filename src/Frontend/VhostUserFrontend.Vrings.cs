using Vhost.Protocol;

namespace Vhost.Frontend;

public sealed partial class VhostUserFrontend
{
    private bool RingsCanBeDisabled => (AcknowledgedFeatures & VirtioFeatures.VhostUserProtocolFeatures) != 0;

    /// <summary>Starts one ring. Where a device has several, start them together: some back-ends want to know every size first.</summary>
    /// <param name="settings">The ring.</param>
    /// <param name="cancellationToken">Cancels freely between messages; see the remarks of the class.</param>
    /// <returns>The started ring.</returns>
    public async ValueTask<FrontendVring> StartVringAsync(VringSettings settings, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(settings);
        IReadOnlyList<FrontendVring> started = await StartVringsAsync([settings], cancellationToken).ConfigureAwait(false);
        return started[0];
    }

    /// <summary>
    /// Starts rings in the order every known back-end accepts: all sizes first, then ring by ring base, addresses, call, error, kick and
    /// one injected kick. They are enabled, and kicked once more, when all have started, so that none has run when one is refused.
    /// </summary>
    /// <param name="settings">The rings; each number once.</param>
    /// <param name="cancellationToken">Cancels freely between messages; see the remarks of the class.</param>
    /// <returns>The started rings, in the order given.</returns>
    /// <exception cref="ArgumentException">A ring is malformed, given twice, or not inside the memory given with
    /// <see cref="SetMemoryAsync"/>.</exception>
    /// <exception cref="InvalidOperationException">A ring is started already.</exception>
    /// <exception cref="VhostUserRejectedException">The back-end refused; the rings of this call that had started are stopped again. Where one of them had run (its enabling was refused after that of others, or
    /// bit 30 is not acknowledged, without which a started ring runs), <see cref="SuspendAsync"/> says where each of them goes on.</exception>
    public async ValueTask<IReadOnlyList<FrontendVring>> StartVringsAsync(
        IReadOnlyList<VringSettings> settings, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(settings);
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        RequireNoTransfer();
        FrontendVring[] rings = Prepare(settings);
        try
        {
            foreach (FrontendVring ring in rings)
                await SetSizeAsync(ring, cancellationToken).ConfigureAwait(false);
            foreach (FrontendVring ring in rings)
                await StartAsync(ring, cancellationToken).ConfigureAwait(false);
            foreach (FrontendVring ring in rings.Where(ring => RingsCanBeDisabled && ring.Settings.Enabled))
                await EnableAsync(ring, enabled: true, cancellationToken).ConfigureAwait(false);
            if (Has(VhostUserProtocolFeatures.Status))
                await AnnounceDriverOkAsync(cancellationToken).ConfigureAwait(false);
            await ConfirmAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception) when (!_channel.Completion.IsCompleted)
        {
            await AbandonAsync(rings).ConfigureAwait(false);
            throw;
        }

        _suspended.Forget(rings);
        return rings;
    }

    internal async ValueTask SetVringEnabledAsync(FrontendVring ring, bool enabled, CancellationToken cancellationToken)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        RequireStarted(ring);
        if (!RingsCanBeDisabled)
        {
            throw new VhostUserFeatureException(
                $"Ring {ring.Index}: VHOST_USER_SET_VRING_ENABLE needs PROTOCOL_FEATURES (bit 30), which the back-end does not offer; " +
                "its rings are always enabled.",
                VirtioFeatures.VhostUserProtocolFeatures,
                VhostUserProtocolFeatures.None);
        }

        await EnableAsync(ring, enabled, cancellationToken).ConfigureAwait(false);
        ring.Settings = ring.Settings with { Enabled = enabled };
        await ConfirmAsync(cancellationToken).ConfigureAwait(false);
    }

    internal async ValueTask SetVringCallAsync(FrontendVring ring, EventNotifier? call, CancellationToken cancellationToken)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        RequireStarted(ring);
        if (!IsInband)
            await Requests.SetVringCallAsync(ring.Index, call?.Descriptor, cancellationToken).ConfigureAwait(false);
        ring.Settings = ring.Settings with { Call = call };
        SignalInbandCall(ring);
        await ConfirmAsync(cancellationToken).ConfigureAwait(false);
    }

    internal async ValueTask<VringBase> StopVringAsync(FrontendVring ring, bool suspends, CancellationToken cancellationToken)
    {
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        RequireStarted(ring);
        if (suspends)
            RequireSuspension();
        return await StopAsync(ring, cancellationToken, suspends).ConfigureAwait(false);
    }

    /// <summary>The size comes first of all messages about a ring, so a refusal can mean its number as well; the answer does not say which.</summary>
    private async ValueTask SetSizeAsync(FrontendVring ring, CancellationToken cancellationToken)
    {
        try
        {
            await Requests.SetVringNumAsync((uint)ring.Index, ring.Settings.Size, cancellationToken).ConfigureAwait(false);
        }
        catch (VhostUserRejectedException e)
        {
            throw new VhostUserRejectedException(
                $"Ring {ring.Index}: the back-end refused size {ring.Settings.Size}. It takes smaller rings only, or has no ring {ring.Index}. ({e.Message})",
                e.ReplyCode)
            {
                RequestCode = e.RequestCode,
            };
        }
    }

    private IEnumerable<FrontendVring> RunningRings() => _vrings.OfType<FrontendVring>();

    private FrontendVring[] Prepare(IReadOnlyList<VringSettings> settings)
    {
        FrontendVring[] rings = new FrontendVring[settings.Count];
        for (int i = 0; i < rings.Length; i++)
        {
            VringSettings wanted = settings[i] ?? throw new ArgumentException("A ring's settings are null.", nameof(settings));
            RingLayout layout = RingLayout.Of(wanted, AcknowledgedFeatures);
            layout.Validate();
            if (_vrings[wanted.Index] is not null)
                throw new InvalidOperationException($"Ring {wanted.Index} is started already; stop it first.");
            if (rings.Take(i).Any(other => other.Index == wanted.Index))
                throw new ArgumentException($"Ring {wanted.Index} is given twice.", nameof(settings));
            bool virtualAddresses = (AcknowledgedFeatures & VirtioFeatures.AccessPlatform) != 0;
            rings[i] = new FrontendVring(this, wanted, virtualAddresses ? layout.Untranslated() : layout.Translate(_published));
        }

        return rings;
    }

    private async ValueTask StartAsync(FrontendVring ring, CancellationToken cancellationToken)
    {
        VringSettings settings = ring.Settings;
        uint index = (uint)settings.Index;
        VringBase begin = settings.BaseWith(AcknowledgedFeatures);
        await Requests.SetVringBaseAsync(index, begin.ToWire(AcknowledgedFeatures), cancellationToken).ConfigureAwait(false);
        await Requests.SetVringAddrAsync(WithLog(ring), cancellationToken).ConfigureAwait(false);
        if (IsInband)
            await StartByMessagesAsync(ring, cancellationToken).ConfigureAwait(false);
        else
            await StartByDescriptorsAsync(ring, cancellationToken).ConfigureAwait(false);
        ring.IsEnabled = !RingsCanBeDisabled;
        FrontendLog.RingStarted(_log, settings.Index, settings.Size, begin);
    }

    private async ValueTask EnableAsync(FrontendVring ring, bool enabled, CancellationToken cancellationToken)
    {
        await Requests.SetVringEnableAsync((uint)ring.Index, enabled, cancellationToken).ConfigureAwait(false);
        ring.IsEnabled = enabled;
        if (enabled && !IsInband)
            KickAgain(ring);
    }

    /// <summary>rust-vmm's back-ends take the kicks of a disabled ring, do nothing, and do not look at the ring when it is enabled.</summary>
    private static void KickAgain(FrontendVring ring)
    {
        try
        {
            ring.Settings.Kick?.Signal();
        }
        catch (ObjectDisposedException)
        {
            // The driver has gone.
        }
    }

    private async ValueTask<VringBase> StopAsync(FrontendVring ring, CancellationToken cancellationToken, bool suspends = false)
    {
        bool disables = RingsCanBeDisabled && ring.IsEnabled;
        if (disables)
            await EnableAsync(ring, enabled: false, cancellationToken).ConfigureAwait(false);
        try
        {
            return await StopDisabledAsync(ring, cancellationToken, suspends).ConfigureAwait(false);
        }
        catch when (disables && ring.IsStarted && !_channel.Completion.IsCompleted)
        {
            await EnableAgainAsync(ring).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>A ring that was not stopped goes on as it was. A back-end that refuses this too keeps it disabled, and so it is shown.</summary>
    private async ValueTask EnableAgainAsync(FrontendVring ring)
    {
        try
        {
            await EnableAsync(ring, enabled: true, CancellationToken.None).ConfigureAwait(false);
        }
        catch (VhostUserException failure)
        {
            FrontendLog.RingNotStopped(_log, ring.Index, failure.Message);
        }
    }

    private async ValueTask<VringBase> StopDisabledAsync(FrontendVring ring, CancellationToken cancellationToken, bool suspends = false)
    {
        await StopKicksAsync(ring).ConfigureAwait(false);
        await RemoveHostNotifierAsync(ring.Index).ConfigureAwait(false);
        VhostUserVringState reply;
        try
        {
            uint index = (uint)ring.Index;
            reply = suspends && Has(VhostUserProtocolFeatures.GetVringBaseSkipDrain)
                ? await Requests.GetVringBaseSkipDrainAsync(index, cancellationToken).ConfigureAwait(false)
                : await Requests.GetVringBaseAsync(index, cancellationToken).ConfigureAwait(false);
        }
        catch when (!_channel.Completion.IsCompleted)
        {
            await StartKicksAsync(ring).ConfigureAwait(false); // the request has not left: the ring goes on
            throw;
        }

        await MarkStoppedAsync(ring).ConfigureAwait(false);
        SignalInbandCall(ring);
        VringBase stoppedAt = VringBaseCheck.Read(reply, ring, AcknowledgedFeatures, Memory, isAtRest: !suspends);
        FrontendLog.RingStopped(_log, ring.Index, stoppedAt);
        return stoppedAt;
    }

    /// <summary>Nothing of the ring is left here when it has ended: no kick is sent, and the guest has no page for it that may have come while it was stopped.</summary>
    private async ValueTask MarkStoppedAsync(FrontendVring ring)
    {
        ring.IsStarted = false;
        ring.IsEnabled = false;
        Volatile.Write(ref _vrings[ring.Index], null);
        await StopKicksAsync(ring).ConfigureAwait(false);
        await RemoveHostNotifierAsync(ring.Index).ConfigureAwait(false);
    }

    private static void RequireStarted(FrontendVring ring)
    {
        if (!ring.IsStarted)
            throw new InvalidOperationException($"Ring {ring.Index} is not started.");
    }

    /// <summary>After a start that failed half-way no ring of it may go on running unseen. Where one has run, what the caller knows of it is no longer true.</summary>
    private async ValueTask AbandonAsync(FrontendVring[] rings)
    {
        bool ran = Array.Exists(rings, static ring => ring.IsEnabled);
        foreach (FrontendVring ring in rings)
        {
            VringSettings settings = ring.Settings;
            VringBase? at = ring.IsStarted ? await StopInAnyCaseAsync(ring).ConfigureAwait(false) : settings.BaseWith(AcknowledgedFeatures);
            if (ran && at is { } known)
                _suspended.Note(settings with { Base = known });
            else if (ran)
                _suspended.NoteLost(ring.Index);
        }

        if (ran)
            _suspended.NoteRun();
    }

    /// <summary>A back-end that refuses to disable the ring is asked for its base all the same: that is what stops it.</summary>
    /// <returns>Where; null: nobody knows.</returns>
    private async ValueTask<VringBase?> StopInAnyCaseAsync(FrontendVring ring)
    {
        try
        {
            await TryDisableAsync(ring).ConfigureAwait(false);
            return await StopDisabledAsync(ring, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is VhostUserException or OperationCanceledException)
        {
            FrontendLog.RingNotStopped(_log, ring.Index, failure.Message);
            _hasGivenRingUp = true;
            await MarkStoppedAsync(ring).ConfigureAwait(false);
            return null;
        }
    }

    private async ValueTask TryDisableAsync(FrontendVring ring)
    {
        try
        {
            if (RingsCanBeDisabled && ring.IsEnabled)
                await EnableAsync(ring, enabled: false, CancellationToken.None).ConfigureAwait(false);
        }
        catch (VhostUserRejectedException failure)
        {
            FrontendLog.RingNotStopped(_log, ring.Index, failure.Message);
        }
    }
}
