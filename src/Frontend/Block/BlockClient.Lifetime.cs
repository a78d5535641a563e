using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Start, change and end of the device.</summary>
public sealed partial class BlockClient
{
    private const ulong Page = 4096;

    /// <summary>Where the memory is mapped, once it is.</summary>
    private IommuMappings? _mappedIn;

    /// <summary>How long a completion that the device does not call for may lie in the ring.</summary>
    private static readonly TimeSpan LongestBlindWait = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Ends the client in bounded time: what is outstanding fails with <see cref="ObjectDisposedException"/>, the connection is closed, and the memory goes.
    /// Threads that poll a queue may still be inside: their next call throws.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _sessions.StopAsync().ConfigureAwait(false);
        if (_overdueTimer is not null)
            await _overdueTimer.DisposeAsync().ConfigureAwait(false);
        if (_lookTimer is not null)
            await _lookTimer.DisposeAsync().ConfigureAwait(false);
        Frontend.ConfigChanged -= OnConfigChanged;
        foreach (BlockTransferQueue queue in _transferQueues)
            await queue.StopAsync().ConfigureAwait(false);
        await _sessions.DisposeAsync().ConfigureAwait(false);
        foreach (BlockQueue queue in _queues)
            queue.Close();
        foreach (EventNotifier notifier in _notifiers)
            notifier.Dispose();
        if (_mappedIn is { } iommu)
            await iommu.UnmapAllAsync(_memory!, _log).ConfigureAwait(false);
        _memory?.Dispose();
        _region?.Dispose();
        _completion.TrySetResult();
    }

    private async ValueTask StartAsync(CancellationToken cancellationToken)
    {
        _geometry = await ReadGeometryAsync(cancellationToken).ConfigureAwait(false);
        bool multiQueue = (Features & VirtioBlkFeatures.MultiQueue) != 0;
        int queues = Math.Min(Frontend.QueueCount, multiQueue ? Math.Max((int)_geometry.Config.QueueCount, 1) : 1);
        _rings = MakeQueues(queues);
        await Frontend.SetMemoryAsync(_memory!, cancellationToken).ConfigureAwait(false);
        await PrepareReconnectAsync(cancellationToken).ConfigureAwait(false);
        await Frontend.StartVringsAsync(_rings, cancellationToken).ConfigureAwait(false);
        foreach (BlockTransferQueue queue in _transferQueues)
            queue.Run();
        if (!_options.Polled)
            StartTimers();
        Frontend.ConfigChanged += OnConfigChanged;
        _sessions.Watch(this);
    }

    private void StartTimers()
    {
        TimeSpan quarter = _options.RequestTimeout / OverdueWatch.Quarters;
        bool endless = _options.RequestTimeout == Timeout.InfiniteTimeSpan;
        TimeSpan look = endless || quarter > LongestBlindWait ? LongestBlindWait : quarter;
        _lookTimer = _options.TimeProvider.CreateTimer(static state => ((BlockClient)state!).LookWithoutCall(), this, look, look);
        if (!endless)
            _overdueTimer = _options.TimeProvider.CreateTimer(static state => ((BlockClient)state!).LookForOverdue(), this, quarter, quarter);
    }

    /// <summary>Lays everything out in one piece of memory: for each queue the ring, then the slots.</summary>
    private VringSettings[] MakeQueues(int count)
    {
        bool indirect = _options.IndirectBuffers > 0 && (Frontend.AcknowledgedFeatures & VirtioFeatures.IndirectDescriptors) != 0;
        DriverVirtqueueOptions ring = new() { Size = _options.QueueSize, IndirectBuffers = indirect ? _options.IndirectBuffers : 0, SparesDescriptors = true, SharesLines = true };
        int depth = indirect && _options.IndirectBuffers >= 3 ? ring.Size : ring.Size / 3;
        ulong ringBytes = RoundUp(DriverVirtqueue.SizeInBytes(ring, Frontend.AcknowledgedFeatures));
        ulong queueBytes = ringBytes + RoundUp(BlockSlots.SizeInBytes(depth, _options.BufferSize));
        using (SharedMemory memory = SharedMemory.CreateSealed("vhost-block-client", queueBytes * (ulong)count, _options.HugePages))
            _memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(MemoryStart), memory));
        if (_options.Iommu is { } iommu)
        {
            iommu.MapAll(_memory);
            _mappedIn = iommu;
        }


        VringSettings[] settings = new VringSettings[count];
        for (int i = 0; i < count; i++)
            settings[i] = MakeQueue(i, MemoryStart + ((ulong)i * queueBytes), ring, depth, ringBytes);
        return settings;
    }

    private VringSettings MakeQueue(int index, ulong at, DriverVirtqueueOptions options, int depth, ulong ringBytes)
    {
        EventNotifier kick = MakeNotifier();
        EventNotifier call = MakeNotifier();
        DriverVirtqueue ring = DriverVirtqueue.Create(_memory!, new GuestAddress(at), options, Frontend.AcknowledgedFeatures);
        BlockSlots slots = new(_memory!, ring.Place, new GuestAddress(at + ringBytes), depth, _options.BufferSize);
        OverdueWatch overdue = new(depth, _options.RequestTimeout, selfTimed: _options.Polled);
        BlockQueue queue = new(index, ring, slots, depth, _options.BufferSize, kick, overdue, CanRebuild) { Broken = OnBroken, VerdictOnSession = VerdictOnSession };
        _queues = [.. _queues, queue];
        if (_options.Polled)
            queue.DisarmCall();
        else
            _transferQueues = [.. _transferQueues, new BlockTransferQueue(queue, call, _log)];
        return ring.Describe(index, kick, call);
    }

    private EventNotifier MakeNotifier()
    {
        EventNotifier notifier = new();
        _notifiers.Add(notifier);
        return notifier;
    }

    private async ValueTask<BlockGeometry> ReadGeometryAsync(CancellationToken cancellationToken)
    {
        byte[] bytes = new byte[ConfigLength];
        await Frontend.ReadConfigAsync(0, bytes, cancellationToken).ConfigureAwait(false);
        VirtioBlkConfig.TryRead(bytes, out VirtioBlkConfig config);
        return BlockGeometry.From(config, Features, _options.BufferSize);
    }

    private void LookWithoutCall()
    {
        foreach (BlockTransferQueue queue in _transferQueues)
            queue.LookWithoutCall();
    }

    private void LookForOverdue()
    {
        foreach (BlockTransferQueue queue in _transferQueues)
            queue.LookForOverdue();
    }

    /// <summary>An overdue request may still be written to by the device at any time, so the whole session goes; a broken ring concerns its queue alone.</summary>
    private void OnBroken(Exception reason)
    {
        if (reason is not VhostUserTimeoutException)
            return;
        _ = Task.Run(async () =>
        {
            FailAll(reason);
            await Frontend.DisposeAsync().ConfigureAwait(false);
        });
    }

    private void FailAll(Exception reason)
    {
        foreach (BlockTransferQueue queue in _transferQueues)
            queue.CollectLast();
        foreach (BlockQueue queue in _queues)
            queue.Fail(reason);
        foreach (BlockTransferQueue queue in _transferQueues)
            queue.Fail(reason);
        if (_completion.TrySetException(reason))
            _ = _completion.Task.Exception; // seen: nobody needs to await it
    }

    private void OnConfigChanged(object? sender, EventArgs e)
    {
        if (Interlocked.Exchange(ref _configChanges, 2) == 0)
            _ = RenewConfigAsync();
    }

    // One at a time, and once more for whatever came meanwhile: a back-end that announces changes without end and answers slowly gathers nothing here.
    private async Task RenewConfigAsync()
    {
        do
        {
            Interlocked.Exchange(ref _configChanges, 1);
            try
            {
                Volatile.Write(ref _geometry, await ReadGeometryAsync(CancellationToken.None).ConfigureAwait(false));
                ConfigChanged?.Invoke(this, EventArgs.Empty);
            }
            catch (Exception failure)
            {
                if (_configBudget.TryTake())
                    FrontendLog.BlockConfigNotRenewed(_log, failure);
            }
        }
        while (Interlocked.CompareExchange(ref _configChanges, 0, 1) != 1);
    }

    private static ulong RoundUp(ulong value) => (value + (Page - 1)) / Page * Page;
}
