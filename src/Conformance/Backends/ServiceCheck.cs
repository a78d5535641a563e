using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Whether a back-end serves an honest front-end from its first word to its work.</summary>
internal static class ServiceCheck
{
    /// <summary>Of the timeout, how long a peer that does not listen is tried again: a run waits so long for each one that died.</summary>
    private const double ShareOfAbsence = 0.3;

    /// <summary>PASS, or WEDGED: somebody listens but does not serve, or FAIL: nobody listens. What goes wrong on this side is thrown.</summary>
    public static async Task<CaseFinding> RunAsync(string socket, BackendProfile profile, Dialogue dialogue, TimeSpan timeout)
    {
        // That a peer serves nobody any more is a grave thing to say of one that is only slow.
        Patience patience = new(3 * timeout);
        dialogue.Note("does the back-end still serve?");
        BackendPeer peer;
        try
        {
            peer = await BackendPeer.ConnectAsync(socket, profile, CaseNeeds.Nothing, dialogue, patience, retryFor: ShareOfAbsence * timeout).ConfigureAwait(false);
        }
        catch (VhostUserException failure) when (!OwnFault.Is(failure))
        {
            return new(ConformanceVerdict.Fail, "", $"the back-end is gone: {failure.Message}");
        }

        await using (peer.ConfigureAwait(false))
        {
            try
            {
                await ServeOnceAsync(peer).ConfigureAwait(false);
                return new(ConformanceVerdict.Pass, "", "");
            }
            catch (Exception failure) when (failure is CaseEndedException or VhostUserException && !OwnFault.Is(failure))
            {
                CaseEndedException ended = failure as CaseEndedException ?? Expect.Failed("a session", failure.Message);
                return await IsGoneAsync(socket, timeout).ConfigureAwait(false)
                    ? new(ConformanceVerdict.Fail, "", $"the back-end is gone (expected {ended.Expected}, {ended.Came})")
                    : new(ConformanceVerdict.Wedged, "", $"the back-end listens but does not serve (expected {ended.Expected}, {ended.Came})");
            }
        }
    }

    private static async Task ServeOnceAsync(BackendPeer peer)
    {
        if (peer.Device.CanWork)
        {
            DriverRing ring = await peer.ServeAsync().ConfigureAwait(false);
            await peer.WorkAsync(ring).ConfigureAwait(false);
            await peer.StopAsync(ring).ConfigureAwait(false);
            return;
        }

        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
    }

    private static async Task<bool> IsGoneAsync(string socket, TimeSpan timeout)
    {
        try
        {
            VhostUserConnectOptions options = new() { RetryFor = ShareOfAbsence * timeout };
            VhostUserConnection connection = await VhostUserConnection.ConnectAsync(socket, options).ConfigureAwait(false);
            await connection.DisposeAsync().ConfigureAwait(false);
            return false;
        }
        catch (VhostUserException failure) when (!OwnFault.Is(failure))
        {
            return true;
        }
    }
}
