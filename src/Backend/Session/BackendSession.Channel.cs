using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

// The back-end channel: our requests to the front-end. Nothing here is waited for inside a handler of the main channel, because the front-end
// may serve this channel only between its own requests.
internal sealed partial class BackendSession
{
    private readonly Lock _channelGate = new();
    private RequestChannel? _channel;
    private bool _configChangePending;

    /// <summary>
    /// Tells the front-end that configuration space changed. Without a channel for it, nothing happens; while every ring is stopped the
    /// notification is kept until one starts, since a suspended device must be silent. Any thread.
    /// </summary>
    public async ValueTask NotifyConfigChangedAsync(CancellationToken cancellationToken)
    {
        RequestChannel? channel;
        lock (_channelGate)
        {
            channel = _channel;
            VhostUserProtocolFeatures wanted = VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.BackendReq;
            if (channel is null || (_state.Protocol & wanted) != wanted)
                return;
            if (IsSuspended)
            {
                _configChangePending = true;
                return;
            }
        }

        await SendConfigChangeAsync(channel, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>No ring is started: the back-end must be silent.</summary>
    private bool IsSuspended => !Array.Exists(_vrings, static vring => vring.Started);

    private void SendPendingConfigChange()
    {
        RequestChannel? channel;
        lock (_channelGate)
        {
            if (!_configChangePending)
                return;
            _configChangePending = false;
            channel = _channel;
        }

        if (channel is not null)
            _ = SendConfigChangeAsync(channel, CancellationToken.None).AsTask();
    }

    /// <summary>Sent without asking for an acknowledgement: there is nothing to do with one, and a front-end may be slow to give it.</summary>
    private static async ValueTask SendConfigChangeAsync(RequestChannel channel, CancellationToken cancellationToken)
    {
        try
        {
            VhostUserHeader header = VhostUserHeader.ForRequest(VhostUserBackendRequest.ConfigChangeMsg, 0);
            await channel.SendAsync(header, default, default, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // The channel has ended with a reason; whoever watches it says so.
        }
    }

    private async ValueTask<Answer> SetBackendChannelAsync(VhostUserMessage message)
    {
        const string Name = "VHOST_USER_SET_BACKEND_REQ_FD";
        if (TryAdopt(message.TakeDescriptor(0), out string why) is not { } connection)
            return Answer.Refuse(VhostUserViolation.BadDescriptor, $"{Name}: {why}");
        RequestChannel channel = new(connection, VhostUserChannel.Backend, ChannelOptions());
        channel.Start();
        await ReplaceChannelAsync(channel).ConfigureAwait(false);
        _ = WatchChannelAsync(channel);
        RepeatInbandSignals();
        RepeatMisses();
        return Answer.Done;
    }

    /// <summary>Takes a socket over for a channel of its own. Null, and why, when it is none, or one whose other end is ours.</summary>
    private VhostUserConnection? TryAdopt(SafeFileHandle descriptor, out string why)
    {
        try
        {
            // Connected before it is looked at: from then on its other end stays the same.
            InheritedSocket.Require(descriptor, InheritedSocketKind.Connected, nameof(descriptor));
            why = "";
            if (!ServedSockets.HasOtherEnd(descriptor, _connection))
                return VhostUserConnection.Adopt(descriptor, ChannelConnectionOptions());
            why = "the socket is connected to this back-end itself; one end of a socket pair is expected";
        }
        catch (Exception e) when (e is ArgumentException or IOException)
        {
            why = e.Message;
        }

        descriptor.Dispose();
        return null;
    }

    private VhostUserConnectionOptions ChannelConnectionOptions() =>
        new() { SendTimeout = _options.SendTimeout, MessageTimeout = _options.MessageTimeout, TimeProvider = _options.TimeProvider };

    private RequestChannelOptions ChannelOptions() => new() { TimeProvider = _options.TimeProvider, Logger = _logger };

    private Task CloseBackendChannelAsync() => ReplaceChannelAsync(null);

    private async Task ReplaceChannelAsync(RequestChannel? next)
    {
        RequestChannel? old;
        lock (_channelGate)
        {
            old = _channel;
            _channel = next;
            _channelLost &= next is null;
        }

        if (old is not null)
            await old.DisposeAsync().ConfigureAwait(false);
    }

    private async Task WatchChannelAsync(RequestChannel channel)
    {
        try
        {
            await channel.Completion.ConfigureAwait(false);
        }
        catch (Exception e) when (e is VhostUserDisconnectedException)
        {
            BackendLog.ChannelClosed(_logger, _connection.Name);
        }
        catch (Exception e)
        {
            if (_budget.TryTake())
                BackendLog.ChannelFailed(_logger, _connection.Name, e.Message);
        }

        await DropChannelAsync(channel).ConfigureAwait(false);
    }

    /// <summary>The channel broke: the main channel goes on without it, unless rings could never ask for a translation again.</summary>
    private async Task DropChannelAsync(RequestChannel channel)
    {
        bool endsTranslations;
        lock (_channelGate)
        {
            bool isLost = ReferenceEquals(_channel, channel);
            if (isLost)
                _channel = null;
            _channelLost |= isLost;
            endsTranslations = isLost && _shownState.Value.Features.HasFlag(VirtioFeatures.AccessPlatform) && !IsSuspended;
            _endsWithChannel |= endsTranslations;
        }

        if (endsTranslations)
        {
            BackendLog.TranslationsLost(_logger, _connection.Name);
            await _ends.CancelAsync().ConfigureAwait(false);
        }

        await channel.DisposeAsync().ConfigureAwait(false);
    }
}
