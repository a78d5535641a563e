namespace Vhost.Backend;

/// <summary>Requests that are noted in the front-end's in-flight area, so that the next back-end finds them.</summary>
public sealed partial class DeviceVirtqueue
{
    /// <summary>Requests of the last back-end that are refused in one call: a table of the ring's size may be copied for each.</summary>
    private const int MostRefusals = 64;

    private InflightTracker? _inflight;
    private volatile bool _isAbandoned;
    private volatile bool _leavesRequests;

    /// <summary>Requests that the device has given up, for the next back-end to serve.</summary>
    private int _leftToNext;

    /// <summary>Chains at the front of the batch that the last back-end had left.</summary>
    private int _fetchedAgain;

    /// <summary>Requests are noted for the next back-end until the driver has been shown that they are done.</summary>
    internal bool NotesRequests => _inflight is not null;

    /// <summary>Requests that the last back-end had taken and not given back: the first that <see cref="TryPop"/> hands out.</summary>
    internal int LeftByLast => _inflight?.RecoveredCount ?? 0;

    /// <summary>What the last back-end noted cannot be of this ring.</summary>
    internal bool IsLeftDiscarded => _inflight?.IsDiscarded ?? false;

    /// <summary>Entries of requests that the last back-end noted and that cannot be of this ring.</summary>
    internal int LeftBad => _inflight?.BadCount ?? 0;

    /// <summary>Requests that the last back-end had taken and that this one refused, because their buffers are not what they must be; they were given back with nothing written.</summary>
    internal int LeftRefused { get; private set; }

    /// <summary>What was wrong with the last of them.</summary>
    internal string? LeftRefusedDetail { get; private set; }

    /// <summary>Whether requests wait here that the last back-end had taken: the driver will not show them again, so they are served before the ring comes to rest.</summary>
    internal bool HasLeft => !_isSuspended && !Awaits && _inflight is { } inflight && (inflight.Waiting > 0 || _handed < Math.Min(_fetchedAgain, _batch.Count));

    /// <summary>From now on only what the last back-end had left is taken: the ring comes to rest.</summary>
    internal bool TakesLeftOnly { get; set; }

    /// <summary>The queue is being stopped without waiting: what is noted as taken need not be completed. Any thread.</summary>
    internal bool LeavesRequests
    {
        get => _leavesRequests;
        set => _leavesRequests = value;
    }

    /// <summary>Requests that the device has neither completed nor given up.</summary>
    internal int WithDevice => InFlight - _staged - _leftToNext - (_inOrder?.CountDone() ?? 0);

    /// <summary>What is new comes when everything has been handed out that was left.</summary>
    private bool MayFetchNew => !TakesLeftOnly && _inflight is not { Waiting: > 0 } && _batch.Count == _handed;

    /// <summary>
    /// The session has given the queue up because its device does not come back from a call, and goes on without it: whatever that thread still does, nothing of it is shown to the
    /// driver or noted any more, and it gets no further request. Any thread. What it is in the middle of writing at this moment cannot be called back.
    /// </summary>
    internal void Abandon() => _isAbandoned = true;

    private void NoteTaken(int place)
    {
        if (place >= _fetchedAgain)
            _inflight!.Taken(_batch[place]);
    }

    private void NoteGivenBack(int place)
    {
        if (place >= _fetchedAgain)
            _inflight!.GivenBack(_batch[place]);
    }

    /// <summary>
    /// What was left comes before anything new, so at first a batch has nothing else. Each request may be as long as the ring and be refused at its end: after some of them the rest is left to the
    /// next turn.
    /// </summary>
    private void FetchAgain()
    {
        int before = _batch.Cost;
        for (int refusals = 0; refusals < MostRefusals && (uint)(_batch.Cost - before) <= MostCost; refusals++)
        {
            if (_inflight!.TryFetch(_batch, out ushort refused))
                break;
            GiveBackRefused(refused);
            TellRefused();
        }

        _fetchedAgain = _batch.Count;
        AwaitsTranslation();
    }

    /// <summary>All that was handed out before is noted as taken, so that this one has its place in the order.</summary>
    private void GiveBackRefused(ushort id)
    {
        LeftRefused++;
        LeftRefusedDetail = _batch.FaultDetail;
        InFlight++;
        _inOrder?.Taken(id);
        Complete(id, 0);
    }
}
