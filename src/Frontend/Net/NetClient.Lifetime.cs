using System.Diagnostics;
using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Start and end of the device.</summary>
public sealed partial class NetClient
{
    private const ulong Page = 4096;

    /// <summary>Where the memory is mapped, once it is.</summary>
    private IommuMappings? _mappedIn;

    /// <summary>How long a packet or a free buffer that the device does not call for may wait in the ring.</summary>
    private static readonly TimeSpan LongestBlindWait = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Ends the client in bounded time: the connection is closed, and the memory goes. Threads that poll a queue may still be inside: their next call throws.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        if (_lookTimer is not null)
            await _lookTimer.DisposeAsync().ConfigureAwait(false);
        await _sessions.StopAsync().ConfigureAwait(false);
        FailQueues(new ObjectDisposedException(nameof(NetClient)));
        await _sessions.DisposeAsync().ConfigureAwait(false);
        CloseQueues();
        foreach (EventNotifier notifier in _notifiers)
            notifier.Dispose();
        if (_mappedIn is { } iommu)
            await iommu.UnmapAllAsync(_memory!, _log).ConfigureAwait(false);
        _memory?.Dispose();
        _completion.TrySetResult();
    }

    /// <summary>All together wait no longer than one would.</summary>
    private void CloseQueues()
    {
        NetClientQueue[] queues = [.. Queues()];
        foreach (NetClientQueue queue in queues)
            queue.BeginClose();
        long began = Stopwatch.GetTimestamp();
        foreach (NetClientQueue queue in queues)
        {
            TimeSpan left = NetClientQueue.LongestCall - Stopwatch.GetElapsedTime(began);
            queue.EndClose(left > TimeSpan.Zero ? left : TimeSpan.Zero);
        }
    }

    private async ValueTask StartAsync(CancellationToken cancellationToken)
    {
        VhostUserFrontend session = Frontend;
        _config = await ReadConfigAsync(session, cancellationToken).ConfigureAwait(false);
        Mac = (HasMac ? Config?.Mac : null) ?? _options.Mac ?? MacAddress.Random();
        bool multiQueue = (Features & VirtioNetFeatures.MultiQueue) != 0;
        int pairs = multiQueue ? Math.Max(session.QueueCount / 2, 1) : 1;
        _rings = MakeQueues(pairs, ControlIndex(session, Config, pairs));
        await SetMtuAsync(session, cancellationToken).ConfigureAwait(false);
        await session.SetMemoryAsync(_memory!, cancellationToken).ConfigureAwait(false);
        await session.StartVringsAsync(_rings, cancellationToken).ConfigureAwait(false);
        foreach (NetReceiver receiver in _receivers)
            receiver.Start();
        _lookTimer = _options.TimeProvider.CreateTimer(static state => ((NetClient)state!).LookWithoutCall(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        foreach (NetClientQueue queue in Queues())
            queue.Waits = StartToLook;

        // With a control queue a device uses one pair until it is told more (virtio 1.2, 5.1.6.5.5).
        if (Control is { } control && multiQueue)
            await WhileAliveAsync(session, stop => control.SetQueuePairsAsync(pairs, stop), cancellationToken).ConfigureAwait(false);
        _sessions.Watch(this);
    }

    /// <summary>A client that only polls has no timer that ticks.</summary>
    private void StartToLook()
    {
        if (!Interlocked.Exchange(ref _looks, true))
            _lookTimer!.Change(LongestBlindWait, LongestBlindWait);
    }

    private void LookWithoutCall()
    {
        foreach (NetClientQueue queue in Queues())
            queue.LookWithoutCall();
    }

    private bool HasMac => (Features & VirtioNetFeatures.Mac) != 0;

    private static async ValueTask<DeviceConfig?> ReadConfigAsync(VhostUserFrontend session, CancellationToken cancellationToken)
    {
        if ((session.ProtocolFeatures & VhostUserProtocolFeatures.Config) == 0)
            return null;
        byte[] bytes = new byte[VirtioNetConfig.ClassicSize];
        await session.ReadConfigAsync(0, bytes, cancellationToken).ConfigureAwait(false);
        return VirtioNetConfig.TryRead(bytes, out VirtioNetConfig config) ? new DeviceConfig(config) : null;
    }

    private async ValueTask SetMtuAsync(VhostUserFrontend session, CancellationToken cancellationToken)
    {
        bool canBeTold = (session.ProtocolFeatures & VhostUserProtocolFeatures.NetMtu) != 0 && (Features & VirtioNetFeatures.Mtu) != 0;
        if (_options.Mtu is { } mtu && canBeTold)
            await session.Requests.NetSetMtuAsync((ulong)mtu, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Lays everything out in one piece of memory: for each queue the ring, then the places for packets.</summary>
    private VringSettings[] MakeQueues(int pairs, int? control)
    {
        VirtioFeatures features = Frontend.AcknowledgedFeatures;
        NetQueueShape receiving = NetQueueShape.ForReceiving(_options, features);
        NetQueueShape sending = NetQueueShape.ForSending(_options, features);
        ulong receiveBytes = BytesOf(receiving);
        ulong pairBytes = receiveBytes + BytesOf(sending);
        ulong controlAt = MemoryStart + (pairBytes * (ulong)pairs);
        NetQueueShape commands = NetQueueShape.ForControl(_options, features);
        ulong bytes = (pairBytes * (ulong)pairs) + (control is null ? 0 : BytesOf(commands));
        using (SharedMemory memory = SharedMemory.CreateSealed("vhost-net-client", bytes, _options.HugePages))
            _memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(MemoryStart), memory));
        if (_options.Iommu is { } iommu)
        {
            iommu.MapAll(_memory);
            _mappedIn = iommu;
        }

        VringSettings[] settings = new VringSettings[(2 * pairs) + (control is null ? 0 : 1)];
        for (int i = 0; i < pairs; i++)
        {
            ulong at = MemoryStart + ((ulong)i * pairBytes);
            settings[2 * i] = MakeReceiver(2 * i, at, receiving);
            settings[(2 * i) + 1] = MakeSender((2 * i) + 1, at + receiveBytes, sending);
        }

        if (control is { } index)
            settings[^1] = MakeControl(index, controlAt, commands);
        return settings;
    }

    /// <summary>Where the control queue is; it counts the pairs that the device has, which is the device's word.</summary>
    private static int? ControlIndex(VhostUserFrontend session, VirtioNetConfig? config, int pairs)
    {
        int most = config?.MaxQueuePairs is { } configured and not 0 ? configured : session.Summary.MaxQueues / 2;
        int? index = NetControlNumbers.IndexOf(session.AcknowledgedFeatures, most);
        if (index is { } one && (one < 2 * pairs || one >= VringLimits.MaxQueues))
        {
            throw new VhostUserProtocolException(
                VhostUserViolation.BadValue,
                string.Create(CultureInfo.InvariantCulture, $"The device says it has {most} pairs of queues: must be {pairs} to {(VringLimits.MaxQueues - 1) / 2}."));
        }

        return index;
    }

    private VringSettings MakeControl(int index, ulong at, NetQueueShape shape)
    {
        EventNotifier kick = MakeNotifier();
        EventNotifier call = MakeNotifier();
        DriverVirtqueue ring = DriverVirtqueue.Create(_memory!, new GuestAddress(at), shape.Ring, Frontend.AcknowledgedFeatures);
        NetQueueMemory memory = new(_memory!, new GuestAddress(at + RingBytes(shape)), shape);
        Control = new NetControl(index, ring, shape, memory, kick, call, _options);
        return ring.Describe(index, kick, call);
    }

    private VringSettings MakeReceiver(int index, ulong at, NetQueueShape shape)
    {
        EventNotifier kick = MakeNotifier();
        EventNotifier call = MakeNotifier();
        DriverVirtqueue ring = DriverVirtqueue.Create(_memory!, new GuestAddress(at), shape.Ring, Frontend.AcknowledgedFeatures);
        NetQueueMemory memory = new(_memory!, new GuestAddress(at + RingBytes(shape)), shape);
        _receivers.Add(new NetReceiver(index, ring, shape, memory, kick, call, _options.DetailedStatistics));
        return ring.Describe(index, kick, call);
    }

    private VringSettings MakeSender(int index, ulong at, NetQueueShape shape)
    {
        EventNotifier kick = MakeNotifier();
        EventNotifier call = MakeNotifier();
        DriverVirtqueue ring = DriverVirtqueue.Create(_memory!, new GuestAddress(at), shape.Ring, Frontend.AcknowledgedFeatures);
        NetQueueMemory memory = new(_memory!, new GuestAddress(at + RingBytes(shape)), shape);
        _senders.Add(new NetSender(index, ring, shape, memory, kick, call, _options.DetailedStatistics));
        return ring.Describe(index, kick, call);
    }

    private EventNotifier MakeNotifier()
    {
        EventNotifier notifier = new();
        _notifiers.Add(notifier);
        return notifier;
    }

    private ulong RingBytes(NetQueueShape shape) => RoundUp(DriverVirtqueue.SizeInBytes(shape.Ring, Frontend.AcknowledgedFeatures));

    private ulong BytesOf(NetQueueShape shape) => RingBytes(shape) + RoundUp(NetQueueMemory.SizeInBytes(shape));

    private IEnumerable<NetClientQueue> Queues() => Control is { } control ? AllPairs().Append(control) : AllPairs();

    private IEnumerable<NetClientQueue> AllPairs() => _senders.Concat<NetClientQueue>(_receivers);

    private void FailQueues(Exception reason)
    {
        foreach (NetClientQueue queue in Queues())
            queue.Fail(reason);
        Control?.Resume();
    }

    private static ulong RoundUp(ulong bytes) => (bytes + Page - 1) / Page * Page;
}
