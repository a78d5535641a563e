using Vhost.Protocol;

namespace Vhost.Backend;

// Kicks, interrupts and errors as messages (INBAND_NOTIFICATIONS). A descriptor goes before a message: rings with descriptors are not touched by this.
internal sealed partial class BackendSession
{
    private bool IsInband => _state.Protocol.HasFlag(VhostUserProtocolFeatures.InbandNotifications);

    /// <summary>Starts a ring that is stopped, and has one that is started looked at.</summary>
    private async ValueTask<Answer> KickVringAsync(VhostUserVringState said)
    {
        const string Name = "VHOST_USER_VRING_KICK";
        if (!TryFind(Name, said.Index, out VringState? vring, out Answer refusal))
            return refusal;
        if (said.Num != 0)
            return Answer.Refuse(VhostUserViolation.BadValue, $"{Name}: queue {said.Index}: number {said.Num}, must be 0");
        if (!vring.Started)
        {
            await EndSaveAsync().ConfigureAwait(false);
            if (CheckStart(Name, vring) is { } reason)
                return reason;
            vring.KickInband();
            StartVring(vring);
        }

        if (vring.IsKickedInband)
            vring.Kick!.Signal();
        else if (vring.Kick is null)
            vring.Worker?.LookAgain();
        return Answer.Done;
    }

    /// <summary>Where the worker of a ring signals interrupts; null: nowhere.</summary>
    private EventNotifier? CallOf(VringState vring)
    {
        if (IsInband)
            vring.Inband ??= new InbandSignals(request => TryNotifyInbandAsync(request, vring));
        return vring.Call ?? vring.Inband?.Notifier;
    }

    /// <summary>Says again, on a channel that has come late, what may have been meant for it: an interrupt too many does no harm.</summary>
    private void RepeatInbandSignals()
    {
        foreach (VringState vring in _vrings)
            vring.Inband?.Notifier.Signal();
    }

    /// <summary>Asks for an acknowledgement, so that at most one message for each ring lies in the socket.</summary>
    /// <returns>False: there is no channel, it has ended, or the ring is stopped, of which nothing may be said.</returns>
    private async Task<bool> TryNotifyInbandAsync(VhostUserBackendRequest request, VringState vring)
    {
        RequestChannel? channel;
        lock (_channelGate)
        {
            channel = _channel;
            if (channel is null || !vring.Started)
                return false;
        }

        byte[] payload = PayloadBytes.Of(new VhostUserVringState((uint)vring.Index, 0));
        try
        {
            using VhostUserMessage reply = await channel.CallAsync(VhostUserHeader.ForRequest(request, payload.Length, needReply: true), payload).ConfigureAwait(false);
            return true;
        }
        catch (Exception e) when (e is IOException or TimeoutException or ObjectDisposedException)
        {
            return false; // the channel has ended with a reason; whoever watches it says so
        }
    }
}
