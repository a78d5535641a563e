using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>Hands on what one end says on one channel, in its order.</summary>
/// <param name="session">The session.</param>
/// <param name="channel">The channel.</param>
/// <param name="side">Whose messages.</param>
/// <param name="from">Where they come from.</param>
/// <param name="to">Where they go.</param>
internal sealed class MessagePump(ProxySession session, VhostUserChannel channel, ProxySide side, VhostUserConnection from, VhostUserConnection to)
{
    /// <summary>A message that goes out behind the next one.</summary>
    private PassingMessage? _behindNext;

    /// <summary>Ends when that end has closed the channel, or a fault has.</summary>
    internal async Task RunAsync(CancellationToken stop)
    {
        try
        {
            bool goesOn = true;
            while (goesOn && await from.ReceiveAsync(stop).ConfigureAwait(false) is { } received)
            {
                PassingMessage message;
                using (received)
                    message = new PassingMessage(received);
                goesOn = await PassAsync(message, stop).ConfigureAwait(false);
            }
        }
        finally
        {
            _behindNext?.Dispose();
        }
    }

    /// <returns>Whether there may be another one.</returns>
    private async Task<bool> PassAsync(PassingMessage message, CancellationToken stop)
    {
        try
        {
            ProxyMessage noted = session.Arrived(channel, side, message);
            List<FaultRule> rules = session.Faults(channel, message.Header);
            FaultedDelivery delivery = FaultedDelivery.Apply(rules, message);
            if (delivery.Delay > TimeSpan.Zero)
                await Task.Delay(delivery.Delay, session.TimeProvider, stop).ConfigureAwait(false);
            if (channel == VhostUserChannel.Main && side == ProxySide.FrontEnd)
                session.Tap(message);
            await DeliverAsync(message, delivery, stop).ConfigureAwait(false);
            session.Passed(noted, rules);
            return !delivery.Ends;
        }
        catch
        {
            message.Dispose();
            throw;
        }
    }

    private async Task DeliverAsync(PassingMessage message, FaultedDelivery delivery, CancellationToken stop)
    {
        if (delivery is { IsBehindNext: true, Times: > 0 } && _behindNext is null)
        {
            _behindNext = message;
            return;
        }

        using (message)
        {
            if (delivery.Cut is { } bytes)
            {
                if (bytes > 0)
                    await message.SendCutAsync(to, bytes, stop).ConfigureAwait(false);
                return;
            }

            for (int i = 0; i < delivery.Times; i++)
                await message.SendAsync(to, stop).ConfigureAwait(false);
        }

        if (_behindNext is not { } late)
            return;
        _behindNext = null;
        using (late)
            await late.SendAsync(to, stop).ConfigureAwait(false);
    }
}
