using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Serves the back-end's own channel. What breaks the framing ends it; what is merely unknown or not negotiated is refused.
/// </summary>
internal sealed class BackendRequestListener : IAsyncDisposable
{
    private const ulong Done = 0;
    private const ulong Refused = 1;

    private readonly VhostUserConnection _connection;
    private readonly BackendRequestDispatcher _dispatcher;
    private readonly Func<VhostUserIotlb, CancellationToken, ValueTask<bool>> _tryLater;
    private readonly Func<NegotiatedState> _state;
    private readonly Action<string> _lost;
    private readonly ILogger _log;
    private readonly ServedChannel _channel;
    private long _refusals;

    /// <summary>Takes ownership of the connection and begins to listen.</summary>
    /// <param name="connection">Our end.</param>
    /// <param name="dispatcher">Who answers.</param>
    /// <param name="tryLater">Takes a message about translations that is not to be acknowledged, and sees to it while this channel goes on; false: it does not.</param>
    /// <param name="state">What is negotiated.</param>
    /// <param name="lost">Told, and why, when the channel ends before the session.</param>
    /// <param name="log">Where it is said too.</param>
    public BackendRequestListener(
        VhostUserConnection connection,
        BackendRequestDispatcher dispatcher,
        Func<VhostUserIotlb, CancellationToken, ValueTask<bool>> tryLater,
        Func<NegotiatedState> state,
        Action<string> lost,
        ILogger log)
    {
        _connection = connection;
        _dispatcher = dispatcher;
        _tryLater = tryLater;
        _state = state;
        _log = log;
        _lost = lost;
        _channel = new ServedChannel(connection, ServeAsync, OnEnded, OnLost);
    }

    /// <summary>Closes the channel at once, as the main channel is lost.</summary>
    public void Abort() => _channel.Abort();

    public ValueTask DisposeAsync() => _channel.DisposeAsync();

    private void OnEnded()
    {
        FrontendLog.BackendChannelEnded(_log);
        _lost("the back-end has closed it");
    }

    private void OnLost(string reason)
    {
        FrontendLog.BackendChannelLost(_log, reason);
        _lost(reason);
    }

    private async ValueTask ServeAsync(VhostUserMessage message, CancellationToken stopping)
    {
        VhostUserHeader header = message.Header;
        NegotiatedState state = _state();
        MessageCheck check = MessageValidator.CheckRequest(VhostUserChannel.Backend, header, message.DescriptorCount, state);
        if (BreaksFraming(check.Violation))
            throw new VhostUserProtocolException(check.Violation, check.Explanation ?? string.Empty);

        SafeFileHandle? found = null;
        bool done = false;
        if (!check.IsValid)
            LogRefusal(check.Explanation ?? string.Empty);
        else if (await IsSeenToLaterAsync(message, state, stopping).ConfigureAwait(false))
            return;
        else if (header.Request == (uint)VhostUserBackendRequest.SharedObjectLookup)
            done = (found = await _dispatcher.LookupAsync(message, stopping).ConfigureAwait(false)) is not null;
        else
            done = await _dispatcher.HandleAsync(message, stopping).ConfigureAwait(false);

        using (found)
            await AnswerAsync(header, state, done, found, stopping).ConfigureAwait(false);
    }

    /// <summary>Translations go out on the main channel, which may be waiting for a device that needs an answer on this one.</summary>
    private async ValueTask<bool> IsSeenToLaterAsync(VhostUserMessage message, NegotiatedState state, CancellationToken stopping) =>
        message.Header.Request == (uint)VhostUserBackendRequest.IotlbMsg
        && !IsAnswerWanted(message.Header, state)
        && VhostUserIotlb.TryRead(message.Payload, out VhostUserIotlb said)
        && await _tryLater(said, stopping).ConfigureAwait(false);

    /// <summary>An answer is due when asked for, and when REPLY_ACK allows asking; SHARED_OBJECT_LOOKUP has a reply of its own.</summary>
    private async ValueTask AnswerAsync(VhostUserHeader header, NegotiatedState state, bool done, SafeFileHandle? descriptor, CancellationToken stopping)
    {
        if (!IsAnswerWanted(header, state) && header.Request != (uint)VhostUserBackendRequest.SharedObjectLookup)
            return;

        byte[] payload = new byte[sizeof(ulong)];
        new VhostUserU64(done ? Done : Refused).Write(payload);
        ReadOnlyMemory<SafeHandle> descriptors = descriptor is null ? default : new[] { descriptor };
        await _connection.SendAsync(header.AsReply(payload.Length), payload, descriptors, stopping).ConfigureAwait(false);
    }

    private static bool IsAnswerWanted(in VhostUserHeader header, in NegotiatedState state) => header.NeedsReply && (state.Protocol & VhostUserProtocolFeatures.ReplyAck) != 0;

    private static bool BreaksFraming(VhostUserViolation violation) =>
        violation is VhostUserViolation.BadVersion or VhostUserViolation.ReplyFlagInRequest
            or VhostUserViolation.ReservedFlags or VhostUserViolation.DescriptorsTruncated;

    /// <summary>A flood of nonsense is logged at its 1st, 2nd, 4th, 8th … message.</summary>
    private void LogRefusal(string explanation)
    {
        _refusals++;
        if (long.IsPow2(_refusals))
            FrontendLog.BackendRequestRefused(_log, _refusals, explanation);
    }
}
