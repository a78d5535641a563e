using Vhost.Protocol;

namespace Vhost.Frontend;

// INBAND_NOTIFICATIONS: the notifiers of a ring stay here, and what they carry goes as messages.
public sealed partial class VhostUserFrontend
{
    /// <summary>Whether interrupts come on the back-end channel.</summary>
    internal bool IsInband => Has(VhostUserProtocolFeatures.InbandNotifications);

    /// <summary>VRING_CALL: the back-end interrupts the driver of a ring.</summary>
    internal bool TryCallDriver(uint index) => TrySignal(index, static settings => settings.Call);

    /// <summary>VRING_ERR: the back-end cannot go on with a ring.</summary>
    internal bool TryTellError(uint index) => TrySignal(index, static settings => settings.Error);

    /// <summary>Whether it is one of the rings that run; whoever does not want to hear of it is not told.</summary>
    private bool TrySignal(uint index, Func<VringSettings, EventNotifier?> which)
    {
        if (!IsInband || index >= (uint)_vrings.Length || Volatile.Read(ref _vrings[index]) is not { } ring)
            return false;
        try
        {
            which(ring.Settings)?.Signal();
        }
        catch (ObjectDisposedException)
        {
            // The driver has gone.
        }

        return true;
    }

    /// <summary>Descriptors: call, error, kick, and one injected kick, since back-ends written to the older text start a ring at the first kick and not at the message.</summary>
    private async ValueTask StartByDescriptorsAsync(FrontendVring ring, CancellationToken cancellationToken)
    {
        VringSettings settings = ring.Settings;
        await Requests.SetVringCallAsync(settings.Index, settings.Call?.Descriptor, cancellationToken).ConfigureAwait(false);
        if (settings.Error is { } error)
            await Requests.SetVringErrAsync(settings.Index, error.Descriptor, cancellationToken).ConfigureAwait(false);
        await Requests.SetVringKickAsync(settings.Index, settings.Kick?.Descriptor, cancellationToken).ConfigureAwait(false);
        MarkStarted(ring);
        settings.Kick?.Signal();
    }

    /// <summary>Messages: the first kick starts the ring. A ring without a notifier says so as without the feature, which is no more than a hint: without a descriptor a back-end may send, and look for, messages all the same.</summary>
    private async ValueTask StartByMessagesAsync(FrontendVring ring, CancellationToken cancellationToken)
    {
        VringSettings settings = ring.Settings;
        MarkUsed(VhostUserProtocolFeatures.InbandNotifications);
        if (settings.Call is null)
            await Requests.SetVringCallAsync(settings.Index, descriptor: null, cancellationToken).ConfigureAwait(false);
        MarkStarted(ring); // before a call can come
        try
        {
            if (settings.Kick is null)
                await Requests.SetVringKickAsync(settings.Index, descriptor: null, cancellationToken).ConfigureAwait(false);
            else
                await Requests.VringKickAsync((uint)settings.Index, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await MarkStoppedAsync(ring).ConfigureAwait(false);
            throw;
        }

        await StartKicksAsync(ring).ConfigureAwait(false);
    }

    private void MarkStarted(FrontendVring ring)
    {
        ring.IsStarted = true;
        Volatile.Write(ref _vrings[ring.Index], ring);
    }

    /// <summary>From now on what the driver signals goes as messages.</summary>
    private async ValueTask StartKicksAsync(FrontendVring ring)
    {
        if (!IsInband || ring.Settings.Kick is not { } kick)
            return;
        uint index = (uint)ring.Index;
        ring.ReplaceKicks(new InbandKicks(kick, index, Requests, () => TryTellError(index), _log));
        if (Volatile.Read(ref _disposed) != 0) // and has perhaps not seen these
            await StopKicksAsync(ring).ConfigureAwait(false);
    }

    /// <summary>No kick is under way when it has ended, and nobody waits for the notifier.</summary>
    private static ValueTask StopKicksAsync(FrontendVring ring) => ring.ReplaceKicks(null)?.DisposeAsync() ?? ValueTask.CompletedTask;

    /// <summary>A call that was under way when the ring stopped, or the notifier was changed, may not have come: the driver looks once more.</summary>
    private void SignalInbandCall(FrontendVring ring)
    {
        if (IsInband)
            ring.Settings.Call?.Signal();
    }
}
