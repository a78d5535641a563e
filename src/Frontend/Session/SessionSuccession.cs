using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The session of a client, and the ones that follow it: watches it, looks for the next one under a policy when it is lost, and gives up at the end of that.</summary>
internal sealed class SessionSuccession : IAsyncDisposable
{
    private readonly SessionSource _source;
    private readonly ReconnectPolicy? _policy;
    private readonly VhostUserFrontendOptions _options;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _ending = new();
    private readonly MemoryHolders _holders = new();
    private VhostUserFrontend _current;
    private SessionVerdict _verdict = new();

    /// <summary>The memory that the lost back-end had; the next one gets the same.</summary>
    private GuestMemory? _carried;
    private Task _watch = Task.CompletedTask;
    private int _count;

    /// <summary>When the last try for a next session ended, well or badly; null before the first.</summary>
    private long? _lastTry;

    /// <summary>Begins with a session, which is owned from here on.</summary>
    /// <param name="first">The session.</param>
    /// <param name="source">Where the next ones come from.</param>
    /// <param name="policy">How they are looked for; null: not at all.</param>
    /// <param name="options">What the client wants of each.</param>
    /// <param name="log">The client's log.</param>
    internal SessionSuccession(VhostUserFrontend first, SessionSource source, ReconnectPolicy? policy, VhostUserFrontendOptions options, ILogger log)
    {
        (_current, _source, _policy, _options, _log) = (first, source, policy, options, log);
        if (HasNext)
            _holders.Serve(PeerProcess.TryOpen(first.PeerProcessId));
    }

    /// <summary>The session at present; while the next one is looked for the lost one.</summary>
    internal VhostUserFrontend Current => Volatile.Read(ref _current);

    /// <summary>Ends the session at present, and no later one. Whoever judges takes it before he looks at what he judges by.</summary>
    internal SessionVerdict Verdict => Volatile.Read(ref _verdict);

    /// <summary>How many sessions have followed another one.</summary>
    internal int Count => Volatile.Read(ref _count);

    /// <summary>Whether there is a way to another session, and the client wants one.</summary>
    internal bool HasNext => _policy is not null && _source.HasNext;

    /// <summary>Begins to watch, once the client runs.</summary>
    internal void Watch(ISuccessionClient client) => _watch = WatchAsync(client);

    /// <summary>From now on no other session is looked for.</summary>
    internal Task StopAsync() => _ending.CancelAsync();

    /// <summary>Ends the session, and the search for the next one, in bounded time.</summary>
    public async ValueTask DisposeAsync()
    {
        await StopAsync().ConfigureAwait(false);
        await EndAsync(Current).ConfigureAwait(false);
        await BoundedWait.ForAsync(_watch).ConfigureAwait(false);
        await EndAsync(Current).ConfigureAwait(false); // a next one, that was there at the last moment
        _carried?.Dispose();
        _holders.Dispose();
    }

    /// <summary>The memory is the client's own, and who still has it is remembered here: nobody who unmaps other memory is to wait for that.</summary>
    private async ValueTask EndAsync(VhostUserFrontend session)
    {
        await session.DisposeAsync().ConfigureAwait(false);
        _options.Iommu?.Detach(session);
    }

    private async Task WatchAsync(ISuccessionClient client)
    {
        while (await EndOfSessionAsync().ConfigureAwait(false) is { } reason)
        {
            _holders.Part(Current.HasLetGoWith(reason));
            if (!await TryGoOnAsync(client, reason).ConfigureAwait(false))
                return;
        }
    }

    /// <summary>Why the session ended, or is to be ended; null when it was disposed.</summary>
    private async Task<Exception?> EndOfSessionAsync()
    {
        Task<Exception> givenUp = Verdict.Reason;
        try
        {
            Task session = Current.Completion;
            if (await Task.WhenAny(session, givenUp).ConfigureAwait(false) != session)
                return await givenUp.ConfigureAwait(false);
            await session.ConfigureAwait(false);
            return null;
        }
        catch (Exception reason)
        {
            return reason;
        }
    }

    private async Task<bool> TryGoOnAsync(ISuccessionClient client, Exception reason)
    {
        if (!client.CanGoOn || reason is not VhostUserException { ShouldReconnect: true })
        {
            client.Fail(reason);
            return false;
        }

        FrontendLog.BackendLost(_log, reason.Message);
        try
        {
            client.Suspend(Current);
            NegotiationSummary last = await LeaveAsync().ConfigureAwait(false);
            Interlocked.Exchange(ref _current, await FindNextAsync(client, last, reason).ConfigureAwait(false));
            Volatile.Write(ref _verdict, new SessionVerdict());
            if (_ending.IsCancellationRequested)
            {
                await EndAsync(Current).ConfigureAwait(false);
                return false;
            }

            Interlocked.Increment(ref _count);
            FrontendLog.BackendReplaced(_log, Count);
        }
        catch (OperationCanceledException) when (_ending.IsCancellationRequested)
        {
            return false; // who disposes the client ends what is outstanding
        }
        catch (Exception final)
        {
            client.Fail(final);
            return false;
        }

        try
        {
            client.Resume();
        }
        catch (Exception failure)
        {
            FrontendLog.HandlerFailed(_log, failure, "Reconnected", 1); // the session is sound, and goes on
        }

        return true;
    }

    /// <summary>Ends the lost session, and keeps the memory that it had, with what the caller has added.</summary>
    private async ValueTask<NegotiationSummary> LeaveAsync()
    {
        VhostUserFrontend lost = Current;
        GuestMemory memory = GuestMemory.Create([.. lost.Memory.Regions]);
        await EndAsync(lost).ConfigureAwait(false);
        _carried?.Dispose();
        _carried = memory;
        return lost.Summary;
    }

    private async ValueTask<VhostUserFrontend> FindNextAsync(ISuccessionClient client, NegotiationSummary last, Exception reason)
    {
        using CancellationTokenSource limit = new(_policy!.Limit, _options.TimeProvider);
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(_ending.Token, limit.Token);
        try
        {
            while (true)
            {
                await PauseAsync(stop.Token).ConfigureAwait(false);
                try
                {
                    return await StartNextAsync(client, last, stop.Token).ConfigureAwait(false);
                }
                catch (Exception again) when (MayPass(again))
                {
                    FrontendLog.BackendNotReplaced(_log, again.Message);
                }
                finally
                {
                    _lastTry = _options.TimeProvider.GetTimestamp();
                }
            }
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested && !_ending.IsCancellationRequested)
        {
            throw reason; // nobody came
        }
    }

    /// <summary>Whether the next try may fare better. A refusal may: a back-end is out of descriptors, or has requests of the last session to finish first. What it lacks in features it lacks for good.</summary>
    private static bool MayPass(Exception failure) =>
        failure is VhostUserException { ShouldReconnect: true } or VhostUserRejectedException or IOException and not VhostUserException;

    /// <summary>Also after one that was found and lost at once: back-ends that come and go do not keep us busy.</summary>
    private async ValueTask PauseAsync(CancellationToken stop)
    {
        TimeSpan left = _lastTry is { } last ? _policy!.Delay - _options.TimeProvider.GetElapsedTime(last) : TimeSpan.Zero;
        if (left > TimeSpan.Zero)
            await Task.Delay(left, _options.TimeProvider, stop).ConfigureAwait(false);
    }

    /// <summary>The whole way again. The driver keeps the features it has.</summary>
    private async ValueTask<VhostUserFrontend> StartNextAsync(ISuccessionClient client, NegotiationSummary last, CancellationToken stop)
    {
        VirtioFeatures features = last.AcknowledgedFeatures & ~VirtioFeatures.VhostUserProtocolFeatures;
        VhostUserFrontend next = await _source.OpenAsync(_options with { Replaces = last, WantedFeatures = features }, stop).ConfigureAwait(false);
        try
        {
            _holders.ThrowIfAnotherOneLives(next.PeerProcessId);
            await GiveMemoryAsync(client, next, stop).ConfigureAwait(false);
            return next;
        }
        catch
        {
            await EndAsync(next).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>From here on the next one may write to the memory, whether it comes to serve or not.</summary>
    private async ValueTask GiveMemoryAsync(ISuccessionClient client, VhostUserFrontend next, CancellationToken stop)
    {
        PeerProcess? process = PeerProcess.TryOpen(next.PeerProcessId);
        try
        {
            await client.StartOverAsync(next, _carried!, stop).ConfigureAwait(false);
        }
        catch (Exception failure)
        {
            _holders.Part(process, next.HasLetGoWith(failure));
            throw;
        }

        _holders.Serve(process);
    }
}
