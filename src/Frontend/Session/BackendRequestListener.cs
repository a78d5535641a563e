using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Serves the back-end's own channel on a task of its own, whatever the main channel is doing. What breaks the framing ends this channel alone;
/// what is merely unknown or not negotiated is refused.
/// </summary>
internal sealed class BackendRequestListener : IAsyncDisposable
{
    private const ulong Done = 0;
    private const ulong Refused = 1;

    private readonly VhostUserConnection _connection;
    private readonly BackendRequestDispatcher _dispatcher;
    private readonly Func<NegotiatedState> _state;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _loop;
    private long _refusals;

    /// <summary>Takes ownership of the connection and begins to listen.</summary>
    public BackendRequestListener(VhostUserConnection connection, BackendRequestDispatcher dispatcher, Func<NegotiatedState> state, ILogger log)
    {
        _connection = connection;
        _dispatcher = dispatcher;
        _state = state;
        _log = log;
        _loop = RunAsync();
    }

    /// <summary>Closes the channel at once, as the main channel is lost.</summary>
    public void Abort()
    {
        _stop.Cancel();
        _connection.Abort();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _connection.Abort();
        await BoundedWait.ForAsync(_loop).ConfigureAwait(false);
        await _connection.DisposeAsync().ConfigureAwait(false);
    }

    private async Task RunAsync()
    {
        try
        {
            while (await _connection.ReceiveAsync(_stop.Token).ConfigureAwait(false) is { } message)
            {
                using (message)
                    await ServeAsync(message).ConfigureAwait(false);
            }

            FrontendLog.BackendChannelEnded(_log);
        }
        catch (Exception) when (_stop.IsCancellationRequested)
        {
            // The session ended.
        }
        catch (Exception failure)
        {
            FrontendLog.BackendChannelLost(_log, failure.Message);
        }
        finally
        {
            // The back-end sees at once that nobody listens any more.
            _connection.Abort();
        }
    }

    private async ValueTask ServeAsync(VhostUserMessage message)
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
        else if (header.Request == (uint)VhostUserBackendRequest.SharedObjectLookup)
            done = (found = await _dispatcher.LookupAsync(message, _stop.Token).ConfigureAwait(false)) is not null;
        else
            done = await _dispatcher.HandleAsync(message, _stop.Token).ConfigureAwait(false);

        using (found)
            await AnswerAsync(header, state, done, found).ConfigureAwait(false);
    }

    /// <summary>An answer is due when asked for, and when REPLY_ACK allows asking; SHARED_OBJECT_LOOKUP has a reply of its own.</summary>
    private async ValueTask AnswerAsync(VhostUserHeader header, NegotiatedState state, bool done, SafeFileHandle? descriptor)
    {
        bool wanted = header.NeedsReply && (state.Protocol & VhostUserProtocolFeatures.ReplyAck) != 0;
        if (!wanted && header.Request != (uint)VhostUserBackendRequest.SharedObjectLookup)
            return;

        byte[] payload = new byte[sizeof(ulong)];
        new VhostUserU64(done ? Done : Refused).Write(payload);
        ReadOnlyMemory<SafeHandle> descriptors = descriptor is null ? default : new[] { descriptor };
        await _connection.SendAsync(header.AsReply(payload.Length), payload, descriptors, _stop.Token).ConfigureAwait(false);
    }

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
