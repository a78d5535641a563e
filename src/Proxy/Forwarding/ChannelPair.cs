using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>One channel of a session: the connections to both ends, and what is handed on between them until one has gone.</summary>
internal sealed class ChannelPair(ProxySession session, VhostUserChannel channel, VhostUserConnection frontEnd, VhostUserConnection backEnd)
{
    internal VhostUserChannel Channel => channel;

    /// <summary>Whether a socket that a peer hands over leads to a connection of this channel: as long as it were held here, that one would not end.</summary>
    internal bool HasOtherEnd(ulong peerNumber) => peerNumber != 0 && (peerNumber == frontEnd.SocketNumber || peerNumber == backEnd.SocketNumber);

    /// <summary>Hands messages on until one end has gone and was heard out, and closes the other.</summary>
    /// <returns>How it ended, in words.</returns>
    internal async Task<string> RunAsync(CancellationToken stop)
    {
        using CancellationTokenSource ends = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task<PumpEnd> fromFrontEnd = PumpAsync(ProxySide.FrontEnd, frontEnd, backEnd, ends.Token);
        Task<PumpEnd> fromBackEnd = PumpAsync(ProxySide.BackEnd, backEnd, frontEnd, ends.Token);
        Task left = Task.CompletedTask, discarded = Task.CompletedTask;
        try
        {
            bool isFrontEnd = await Task.WhenAny(fromFrontEnd, fromBackEnd).ConfigureAwait(false) == fromFrontEnd;
            (Task<PumpEnd> first, Task<PumpEnd> second) = isFrontEnd ? (fromFrontEnd, fromBackEnd) : (fromBackEnd, fromFrontEnd);
            (VhostUserConnection from, VhostUserConnection to) = isFrontEnd ? (frontEnd, backEnd) : (backEnd, frontEnd);
            PumpEnd end = await first.ConfigureAwait(false);
            if (end.Cause == PumpEndCause.Broken)
                return end.Text;
            if (end.Cause == PumpEndCause.SaidAll)
                to.EndSending();
            else
                discarded = DiscardAsync(from, ends.Token);
            left = LeftAsync(from, ends.Token);
            if (await Task.WhenAny(second, left).ConfigureAwait(false) == second)
                await second.ConfigureAwait(false);
            return end.Text;
        }
        finally
        {
            await ends.CancelAsync().ConfigureAwait(false);
            await frontEnd.DisposeAsync().ConfigureAwait(false);
            await backEnd.DisposeAsync().ConfigureAwait(false);
            Task all = Task.WhenAll(fromFrontEnd, fromBackEnd, left, discarded);
            await all.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Whatever is wrong, a session that is being stopped too, comes with the task.</summary>
    private static async Task LeftAsync(VhostUserConnection end, CancellationToken stop) => await end.WaitPeerLeftAsync(stop).ConfigureAwait(false);

    /// <summary>Whoever still speaks to one that has gone need not wait for that, and hears what that one has said before.</summary>
    private static async Task DiscardAsync(VhostUserConnection from, CancellationToken stop)
    {
        while (await from.ReceiveAsync(stop).ConfigureAwait(false) is { } message)
            message.Dispose();
    }

    private async Task<PumpEnd> PumpAsync(ProxySide side, VhostUserConnection from, VhostUserConnection to, CancellationToken stop)
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding); // not under the lock of whoever has opened the channel
        MessagePump pump = new(session, channel, side, from, to);
        try
        {
            bool hasSaidAll = await pump.RunAsync(stop).ConfigureAwait(false);
            string text = pump.CutOff is { } part ? $"{Name(side)}: {part.Message}" : $"{Name(side)} closed the connection, or a fault did";
            return new PumpEnd(text, hasSaidAll ? PumpEndCause.SaidAll : PumpEndCause.Broken);
        }
        catch (OperationCanceledException)
        {
            return new PumpEnd("the proxy was stopped", PumpEndCause.Broken);
        }
        catch (Exception e) when (e is IOException or TimeoutException or ObjectDisposedException)
        {
            bool isNotTaken = e is VhostUserDisconnectedException && pump.At != side;
            return new PumpEnd($"{Name(pump.At)}: {e.Message}", isNotTaken ? PumpEndCause.NotTaken : PumpEndCause.Broken);
        }
    }

    private static string Name(ProxySide side) => side == ProxySide.FrontEnd ? "the front-end" : "the back-end";
}
