using Vhost.Protocol;

namespace Vhost.Backend;

// Addresses of an IOMMU (ACCESS_PLATFORM). The front-end tells and withdraws translations on the main channel; what is missing is said on the back-end channel, by a task of its own, and nobody waits
// for the answer there: it comes as a message on the main channel, which is served meanwhile.
internal sealed partial class BackendSession
{
    /// <summary>Misses that may wait for an answer however few queues there are: each may ask for as many as a ring does.</summary>
    private const int LeastMisses = 256;

    private static readonly TimeSpan _shortestPause = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan _longestPause = TimeSpan.FromMilliseconds(100);

    private readonly DeviceIotlb _iotlb;

    /// <summary>For each queue.</summary>
    private readonly RingIotlb[] _ringIotlbs;

    /// <summary>The queue that is the next to ask fast again. The clock's.</summary>
    private int _nextTurn;
    private readonly Lock _missGate = new();
    private ITimer? _missTimer;
    private bool _saysMisses;
    private bool _iommuEnded;
    private bool _toldNoChannel;

    /// <summary>The channel was lost while rings needed it.</summary>
    private bool _endsWithChannel;

    /// <summary>The channel was lost, and there has been no other since.</summary>
    private bool _channelLost;

    private bool IsChannelLost
    {
        get
        {
            lock (_channelGate)
                return _channelLost;
        }
    }

    private bool UsesIommu => _state.Features.HasFlag(VirtioFeatures.AccessPlatform);

    private ValueTask<Answer> ChangeTranslationsAsync(VhostUserIotlb said)
    {
        const string Name = "VHOST_USER_IOTLB_MSG";
        if (said.Type is not (VhostUserIotlbType.Update or VhostUserIotlbType.Invalidate))
        {
            return Now(Answer.Refuse(
                VhostUserViolation.BadValue, $"{Name}: type {(byte)said.Type} is neither {(byte)VhostUserIotlbType.Update} (update) nor {(byte)VhostUserIotlbType.Invalidate} (invalidate)"));
        }

        if (said.Size == 0 || said.Size - 1 > ulong.MaxValue - said.Address.Value)
        {
            return Now(Answer.Refuse(
                VhostUserViolation.BadValue, $"{Name}: size 0x{said.Size:x} at I/O virtual address {said.Address}: the range must have a byte and not pass 2^64"));
        }

        return said.Type == VhostUserIotlbType.Invalidate ? InvalidateAsync(Name, said) : Now(Update(Name, said));
    }

    private Answer Update(string name, in VhostUserIotlb said)
    {
        if (said.Permission is VhostUserIotlbPermission.None or > VhostUserIotlbPermission.ReadWrite)
            return Answer.Refuse(VhostUserViolation.BadValue, $"{name}: permission {(byte)said.Permission} is not 1 (read), 2 (write) or 3 (both)");
        if (TranslationsOf(said) is not { } entries)
        {
            return Answer.Refuse(
                VhostUserViolation.UnknownMemoryRegion,
                $"{name}: user address {said.UserAddress} with size 0x{said.Size:x}, of I/O virtual address {said.Address}, is not inside the memory of {_memory.Regions.Count} regions");
        }

        _iotlb.Update(entries);
        foreach (VringState vring in _vrings)
        {
            if (vring.Worker is { } worker && worker.Queue.AwaitsIn(said.Address.Value, said.Address.Value + (said.Size - 1)))
                worker.MoveSoon();
        }

        return StartWaiting(name);
    }

    /// <summary>What was said, cut at the ends of regions: a front-end may have one range of addresses over several. Null: not all of it is memory.</summary>
    private Translation[]? TranslationsOf(in VhostUserIotlb said)
    {
        List<Translation> entries = [];
        ulong done = 0;
        while (done < said.Size && said.UserAddress.Value <= ulong.MaxValue - done && _memory.TryFind(new UserAddress(said.UserAddress.Value + done), out GuestMemoryRegion? region, out ulong offset))
        {
            ulong here = Math.Min(said.Size - done, region.Size - offset);
            entries.Add(new Translation(said.Address.Value + done, region, offset, here, said.Permission));
            done += here;
        }

        if (done == said.Size)
            return [.. entries];
        foreach (Translation entry in entries)
            entry.Release();
        return null;
    }

    /// <summary>Starts the rings that waited for their translations.</summary>
    private Answer StartWaiting(string name)
    {
        try
        {
            foreach (VringState vring in _vrings)
                StartIfPossible(vring);
            return Answer.Done;
        }
        catch (LinuxException e)
        {
            return Answer.Close(VhostUserViolation.WrongState, $"{name}: a queue that waited for the translation cannot start: {e.Message}");
        }
    }

    private async ValueTask<Answer> InvalidateAsync(string name, VhostUserIotlb said)
    {
        ulong last = said.Address.Value + (said.Size - 1);
        Task unused = _iotlb.Invalidate(said.Address.Value, last);
        if (!unused.IsCompleted)
            await Task.WhenAll(Array.ConvertAll(_vrings, static vring => vring.Worker?.MoveToNewestAsync() ?? Task.CompletedTask)).ConfigureAwait(false);
        try
        {
            await unused.WaitAsync(_options.DrainTimeout, _options.TimeProvider).ConfigureAwait(false);
            return LookForRings(name);
        }
        catch (TimeoutException)
        {
            return Answer.Close(
                VhostUserViolation.WrongState,
                $"{name}: the device still uses memory at I/O virtual address {said.Address}, size 0x{said.Size:x}, after {_options.DrainTimeout.TotalSeconds} s, so that it was withdrawn cannot be acknowledged");
        }
    }

    /// <summary>A translation that was of no use to a ring may have gone: it asks for another one, of which the front-end would say nothing by itself.</summary>
    private Answer LookForRings(string name)
    {
        foreach (VringState vring in _vrings)
        {
            if (vring.Worker is { Queue.IsSuspended: true } worker)
                worker.MoveSoon();
        }

        return StartWaiting(name);
    }

    /// <summary>Pages that rings lie in do not make room for pages of requests. Where a started ring lies does not change, so that the start of one is all that there is to look at.</summary>
    private void PinRings()
    {
        if (UsesIommu)
            _iotlb.Pin(new AddressRanges([.. _vrings.Where(static vring => vring.Started).SelectMany(vring => MappedRing.RangesOf(SetupOf(vring)))]));
    }

    /// <summary>While no ring is started a front-end does not say what it withdraws (QEMU), so nothing is kept.</summary>
    private void ForgetTranslationsAtRest()
    {
        if (IsSuspended)
            _iotlb.Flush();
    }

    /// <summary>Something is missing. Any thread; never blocks.</summary>
    private void SayMisses()
    {
        lock (_missGate)
        {
            if (_iommuEnded)
                return;
            _missTimer ??= _options.TimeProvider.CreateTimer(static session => ((BackendSession)session!).AskAgain(), this, _options.IotlbRetry, _options.IotlbRetry);
            if (_saysMisses)
                return;
            _saysMisses = true;
        }

        _ = SayMissesAsync();
    }

    private async Task SayMissesAsync()
    {
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding); // not on the thread of the queue
        while (TryTakeWord(out TranslationMiss said, out VhostUserIotlbType type))
        {
            // A front-end that is stopped for a while does not read: it is not given up for what it will answer later.
            for (TimeSpan pause = _shortestPause; !await TrySayAsync(said, type).ConfigureAwait(false); pause = pause < _longestPause ? 2 * pause : pause)
                await Task.Delay(pause, _options.TimeProvider).ConfigureAwait(false);
        }
    }

    /// <returns>False: the front-end has left no room for it. Without a channel there is nobody to say it to.</returns>
    private async ValueTask<bool> TrySayAsync(TranslationMiss said, VhostUserIotlbType type)
    {
        RequestChannel? channel;
        lock (_channelGate)
        {
            channel = _channel;
            if (channel is null && !_toldNoChannel && !_endsWithChannel && !Volatile.Read(ref _iommuEnded) && _budget.TryTake())
                BackendLog.NoChannelForMisses(_logger, _connection.Name);
            _toldNoChannel = channel is null;
        }

        if (channel is null)
            return true;

        byte[] payload = PayloadBytes.Of(new VhostUserIotlb(new IoVirtualAddress(said.Address), 0, default, said.Permission, type));
        try
        {
            return await channel.TrySendAsync(VhostUserHeader.ForRequest(VhostUserBackendRequest.IotlbMsg, payload.Length), payload).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or TimeoutException or ObjectDisposedException)
        {
            return true; // the channel has ended with a reason; whoever watches it says so
        }
    }

    /// <summary>Says on a new channel what was said on an old one, or to nobody.</summary>
    private void RepeatMisses()
    {
        if (_iotlb.IsAsking)
            _iotlb.AskAgain();
    }

    /// <summary>The next miss, or the next refusal; without one, saying them has ended under the same lock under which it begins.</summary>
    private bool TryTakeWord(out TranslationMiss said, out VhostUserIotlbType type)
    {
        lock (_missGate)
        {
            (said, type) = (default, VhostUserIotlbType.Miss);
            _saysMisses = !_iommuEnded && _iotlb.TryTake(out said, out type);
            return _saysMisses;
        }
    }

    /// <summary>By the clock: what was not answered is said again, and whoever waits looks again.</summary>
    private void AskAgain()
    {
        GiveTurn();
        foreach (VringState vring in _vrings)
        {
            if (vring.Worker is { Queue.Awaits: true } worker)
                worker.MoveSoon();
        }

        lock (_missGate)
        {
            if (!_iotlb.IsAsking || _iommuEnded)
            {
                _missTimer?.Dispose();
                _missTimer = null;
                return;
            }
        }

        _iotlb.AskAgain();
    }

    /// <summary>One of those that get no further asks as fast as it is answered, while the others ask by the clock. A ring that asks for nothing, stopped or broken, takes no turn from them.</summary>
    private void GiveTurn()
    {
        for (int i = 0; i < _ringIotlbs.Length; i++)
        {
            int index = (_nextTurn + i) % _ringIotlbs.Length;
            bool asks = _vrings[index].State is QueueState.Running or QueueState.WaitsForMemory;
            if (!asks || !_ringIotlbs[index].Pace.TryTakeTurn())
                continue;
            _nextTurn = index + 1;
            return;
        }
    }

    private void EndTranslations()
    {
        lock (_missGate)
        {
            _iommuEnded = true;
            _missTimer?.Dispose();
            _missTimer = null;
        }

        _iotlb.Dispose();
    }
}
