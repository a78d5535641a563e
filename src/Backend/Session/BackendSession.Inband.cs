using Vhost.Protocol;

namespace Vhost.Backend;

// Kicks, interrupts and errors as messages (INBAND_NOTIFICATIONS). A descriptor goes before a message: rings with descriptors are not touched by this.
internal sealed partial class BackendSession
{
    private bool IsInband => _state.Protocol.HasFlag(VhostUserProtocolFeatures.InbandNotifications);

    /// <summary>Starts a ring that is stopped, and has one that is started looked at.</summary>
    private Answer KickVring(VhostUserVringState said)
    {
        const string Name = "VHOST_USER_VRING_KICK";
        if (!TryFind(Name, said.Index, out VringState? vring, out Answer refusal))
            return refusal;
        if (said.Num != 0)
            return Answer.Refuse(VhostUserViolation.BadValue, $"{Name}: queue {said.Index}: number {said.Num}, must be 0");
        if (!vring.Started)
        {
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
        if (vring.Call is not null || !IsInband)
            return vring.Call;
        vring.InbandCalls ??= new InbandCalls(() => NotifyInbandAsync(VhostUserBackendRequest.VringCall, vring.Index));
        return vring.InbandCalls.Notifier;
    }

    /// <summary>Says again, on a channel that has come late, what may have been meant for it: an interrupt too many does no harm.</summary>
    private void RepeatInbandCalls()
    {
        foreach (VringState vring in _vrings)
            vring.InbandCalls?.Notifier.Signal();
    }

    /// <summary>Asks for an acknowledgement, so that at most one message for each ring lies in the socket. Without a channel, or when every ring has stopped, there is nobody to tell.</summary>
    private async Task NotifyInbandAsync(VhostUserBackendRequest request, int queue)
    {
        await Task.Yield(); // never on the thread of a worker
        RequestChannel? channel;
        lock (_channelGate)
        {
            channel = _channel;
            if (channel is null || IsSuspended)
                return;
        }

        byte[] payload = PayloadBytes.Of(new VhostUserVringState((uint)queue, 0));
        try
        {
            using VhostUserMessage reply = await channel.CallAsync(VhostUserHeader.ForRequest(request, payload.Length, needReply: true), payload).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or TimeoutException or ObjectDisposedException)
        {
            // The channel has ended with a reason; whoever watches it says so.
        }
    }
}
