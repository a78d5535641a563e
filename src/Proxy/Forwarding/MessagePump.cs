using Microsoft.Win32.SafeHandles;
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
    /// <summary>A message that goes out behind the next one, and how often.</summary>
    private (PassingMessage Message, int Times)? _behindNext;
    private bool _sends;

    /// <summary>Whose end is in use: what fails then is his.</summary>
    internal ProxySide At => _sends ? Other : side;

    /// <summary>What was wrong with the last thing that came: a part of a message; null: nothing.</summary>
    internal VhostUserProtocolException? CutOff { get; private set; }

    /// <summary>Ends when that end says no more and everything was handed on, or a fault has closed the channel.</summary>
    /// <returns>Whether it was no fault.</returns>
    internal async Task<bool> RunAsync(CancellationToken stop)
    {
        from.KeepsCutOff = true;
        try
        {
            while (await NextAsync(stop).ConfigureAwait(false) is { } message)
            {
                if (!await PassAsync(message, stop).ConfigureAwait(false))
                    return false;
            }

            await SendHeldAsync(stop).ConfigureAwait(false);
            await SendCutOffAsync(stop).ConfigureAwait(false);
            return true;
        }
        finally
        {
            _behindNext?.Message.Dispose();
        }
    }

    /// <returns>Null: there is no whole one any more.</returns>
    private async Task<PassingMessage?> NextAsync(CancellationToken stop)
    {
        try
        {
            using VhostUserMessage? received = await from.ReceiveAsync(stop).ConfigureAwait(false);
            return received is null ? null : new PassingMessage(received);
        }
        catch (VhostUserProtocolException e) when (e.Violation == VhostUserViolation.TruncatedMessage)
        {
            CutOff = e;
            return null;
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
                await session.TapAsync(message).ConfigureAwait(false);
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
        if (delivery is { IsBehindNext: true, Times: > 0, Ends: false } && _behindNext is null)
        {
            _behindNext = (message, delivery.Times);
            return;
        }

        using (message)
            await SendAsync(message, delivery, stop).ConfigureAwait(false);
        if (!delivery.Ends)
            await SendHeldAsync(stop).ConfigureAwait(false);
    }

    private async Task SendAsync(PassingMessage message, FaultedDelivery delivery, CancellationToken stop)
    {
        _sends = true;
        if (delivery.Cut is not { } bytes)
            await message.SendAsync(to, delivery.Times, stop).ConfigureAwait(false);
        else if (bytes > 0)
            await message.SendCutAsync(to, bytes, stop).ConfigureAwait(false);
        _sends = false;
    }

    private async Task SendHeldAsync(CancellationToken stop)
    {
        if (_behindNext is not { } held)
            return;
        _behindNext = null;
        using (held.Message)
            await SendAsync(held.Message, new FaultedDelivery { Times = held.Times }, stop).ConfigureAwait(false);
    }

    /// <summary>A part of a message goes on as it came.</summary>
    private async Task SendCutOffAsync(CancellationToken stop)
    {
        if (from.TakeCutOff() is not { } part)
            return;
        _sends = true;
        try
        {
            await to.SendRawAsync(part.Bytes, part.Descriptors, stop).ConfigureAwait(false);
        }
        finally
        {
            foreach (SafeFileHandle descriptor in part.Descriptors)
                descriptor.Dispose();
        }

        _sends = false;
    }

    private ProxySide Other => side == ProxySide.FrontEnd ? ProxySide.BackEnd : ProxySide.FrontEnd;
}
