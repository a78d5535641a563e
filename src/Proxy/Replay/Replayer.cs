using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>
/// Says again what one side of a recorded session has said, and compares what the other side says to it, up to the first difference. It has no guest: memory holds zeros, rings stay empty and nobody is notified. On
/// the back-end channel a back-end is answered, and not compared: when it asks depends on what was in the rings.
/// </summary>
public sealed class Replayer
{
    private readonly ProxySide _side;
    private readonly VhostUserConnection _peer;
    private readonly TimeSpan _patience;
    private int _played;
    private int _compared;

    private Replayer(ProxySide side, VhostUserConnection peer, TimeSpan patience) => (_side, _peer, _patience) = (side, peer, patience);

    /// <summary>Plays one side.</summary>
    /// <param name="recording">What <see cref="RecordingReader"/> has read.</param>
    /// <param name="session">Which of its sessions, from 1.</param>
    /// <param name="side">Which side is played; the other one is at <paramref name="peer"/>.</param>
    /// <param name="peer">The connection to the other side. Stays the caller's.</param>
    /// <param name="patience">How long a message is waited for: more than 0, at most 49 days; infinite for ever.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <returns>What came of it.</returns>
    /// <exception cref="ArgumentException">The recording has no such session, or names what cannot be sent: more descriptors than a message carries, memory of a size that none has.</exception>
    /// <exception cref="LinuxException">There is no memory, or no descriptor left, for what stands for the recorded ones.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static async Task<ReplayResult> PlayAsync(
        IReadOnlyList<ProxyMessage> recording, int session, ProxySide side, VhostUserConnection peer, TimeSpan patience, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(recording);
        ArgumentNullException.ThrowIfNull(peer);
        ProxyMessage[] messages = [.. recording.Where(message => message.Session == session)];
        if (messages.Length == 0)
            throw new ArgumentException($"The recording has no session {session}.", nameof(session));
        return await new Replayer(side, peer, patience).PlayAsync(messages, cancellationToken).ConfigureAwait(false);
    }

    private async Task<ReplayResult> PlayAsync(ProxyMessage[] messages, CancellationToken stop)
    {
        ReplayChannel channel = new();
        await using (channel.ConfigureAwait(false))
        {
            using ReplayDescriptors descriptors = new();
            return await PlayAsync(messages, descriptors, channel, stop).ConfigureAwait(false);
        }
    }

    private async Task<ReplayResult> PlayAsync(ProxyMessage[] messages, ReplayDescriptors descriptors, ReplayChannel channel, CancellationToken stop)
    {
        foreach (ProxyMessage message in messages.Where(static message => message.Channel == VhostUserChannel.Main))
        {
            if (message.From != _side)
            {
                if (await ExpectAsync(message, stop).ConfigureAwait(false) is { } difference)
                    return new ReplayResult(_played, _compared, difference);
                continue;
            }

            try
            {
                await _peer.SendAsync(message.Header, message.Payload, descriptors.Of(message), stop).ConfigureAwait(false);
            }
            catch (VhostUserException e)
            {
                return new ReplayResult(_played, _compared, new ReplayDifference(message.Number, message.Text, $"it could not be sent: {e.Message}"));
            }

            _played++;
            if (message.Header.Request == (uint)VhostUserRequest.SetBackendReqFd && message.Descriptors.Count > 0 && descriptors.TakePeer(message.Descriptors[0]) is { } end)
                channel.Answer(end);
        }

        return new ReplayResult(_played, _compared, null);
    }

    /// <returns>What is different; null: it came as it was.</returns>
    private async Task<ReplayDifference?> ExpectAsync(ProxyMessage recorded, CancellationToken stop)
    {
        using CancellationTokenSource late = CancellationTokenSource.CreateLinkedTokenSource(stop);
        late.CancelAfter(_patience);
        try
        {
            using VhostUserMessage? came = await _peer.ReceiveAsync(late.Token).ConfigureAwait(false);
            if (came is null)
                return new ReplayDifference(recorded.Number, recorded.Text, "the connection was closed");
            if (!ReplayComparison.IsSame(recorded, came.Header, came.Payload, came.DescriptorCount))
                return new ReplayDifference(recorded.Number, recorded.Text, MessageText.Describe(VhostUserChannel.Main, came.Header, came.Payload, came.DescriptorCount));
            _compared++;
            return null;
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return new ReplayDifference(recorded.Number, recorded.Text, $"nothing came for {_patience.TotalSeconds} s");
        }
        catch (VhostUserException e)
        {
            return new ReplayDifference(recorded.Number, recorded.Text, e.Message);
        }
    }
}
