using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>One channel of a session: the connections to both ends, and what is handed on between them until one has gone.</summary>
internal sealed class ChannelPair(ProxySession session, VhostUserChannel channel, VhostUserConnection frontEnd, VhostUserConnection backEnd)
{
    /// <summary>An end that has gone may have said things before; it is given so long to be heard out where the other one does not read.</summary>
    private static readonly TimeSpan _grace = TimeSpan.FromSeconds(1);

    internal VhostUserChannel Channel => channel;

    /// <summary>Whether a socket that a peer hands over leads to a connection of this channel: as long as it were held here, that one would not end.</summary>
    internal bool HasOtherEnd(ulong peerNumber) => peerNumber != 0 && (peerNumber == frontEnd.SocketNumber || peerNumber == backEnd.SocketNumber);

    /// <summary>Hands messages on until one end has gone, and closes the other.</summary>
    /// <returns>How it ended, in words.</returns>
    internal async Task<string> RunAsync(CancellationToken stop)
    {
        using CancellationTokenSource ends = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task<string> fromFrontEnd = PumpAsync(ProxySide.FrontEnd, frontEnd, backEnd, ends.Token);
        Task<string> fromBackEnd = PumpAsync(ProxySide.BackEnd, backEnd, frontEnd, ends.Token);
        Task<string> gone = GoneAsync(ends.Token);
        try
        {
            return await (await Task.WhenAny(fromFrontEnd, fromBackEnd, gone).ConfigureAwait(false)).ConfigureAwait(false);
        }
        finally
        {
            await ends.CancelAsync().ConfigureAwait(false);
            await frontEnd.DisposeAsync().ConfigureAwait(false);
            await backEnd.DisposeAsync().ConfigureAwait(false);
            Task all = Task.WhenAll(fromFrontEnd, fromBackEnd, gone);
            await all.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>One that goes while its message waits, for the other end to read or for a delay to be over, is not heard by the pump.</summary>
    private async Task<string> GoneAsync(CancellationToken stop)
    {
        try
        {
            Task frontEndLeft = frontEnd.WaitPeerLeftAsync(stop).AsTask();
            Task first = await Task.WhenAny(frontEndLeft, backEnd.WaitPeerLeftAsync(stop).AsTask()).ConfigureAwait(false);
            await first.ConfigureAwait(false);
            await Task.Delay(_grace, session.TimeProvider, stop).ConfigureAwait(false);
            return $"{Name(first == frontEndLeft ? ProxySide.FrontEnd : ProxySide.BackEnd)} has gone while the other one did not read, or a message waited";
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or ObjectDisposedException)
        {
            return "the proxy was stopped";
        }
    }

    private async Task<string> PumpAsync(ProxySide side, VhostUserConnection from, VhostUserConnection to, CancellationToken stop)
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding); // not under the lock of whoever has opened the channel
        MessagePump pump = new(session, channel, side, from, to);
        try
        {
            await pump.RunAsync(stop).ConfigureAwait(false);
            return $"{Name(side)} closed the connection, or a fault did";
        }
        catch (OperationCanceledException)
        {
            return "the proxy was stopped";
        }
        catch (Exception e) when (e is IOException or TimeoutException or ObjectDisposedException)
        {
            return $"{Name(pump.At)}: {e.Message}";
        }
    }

    private static string Name(ProxySide side) => side == ProxySide.FrontEnd ? "the front-end" : "the back-end";
}
