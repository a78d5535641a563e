using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// One pair of queues of one guest's <see cref="NetDevice"/>, not a port of a switch with several guests: what DPDK calls enqueue and dequeue. Bursts never wait and allocate nothing; while the guest is not there, they
/// find no packets and no room.
/// </summary>
/// <remarks>
/// <para>Threading: with <see cref="QueueDispatch.Application"/> any thread, one at a time in each direction; a second one that comes in meanwhile finds no packets and no room. The two directions run beside each
/// other. With the other ways inside the calls of <see cref="INetHandler"/>, each direction in its own; elsewhere nothing is found.</para>
/// <para>Errors: nothing that a guest does ends in an exception. A ring that breaks a rule is stopped and logged, and from then on has no packets and no room
/// (<see cref="BackendStatus.Queues"/> says what was wrong); the other direction goes on.</para>
/// </remarks>
public sealed partial class NetPort
{
    private readonly NetPortQueue _toGuest;
    private readonly NetPortQueue _fromGuest;
    private readonly bool _classify;
    private bool _isActive = true;

    internal NetPort(int index, bool classify, bool isApplications)
    {
        Index = index;
        _classify = classify;
        _toGuest = new NetPortQueue(isApplications);
        _fromGuest = new NetPortQueue(isApplications);
    }

    /// <summary>Which pair of the device this is, from 0: queues 2 × Index (to the guest) and 2 × Index + 1 (from the guest).</summary>
    public int Index { get; }

    /// <summary>Whether both queues are started, so that there is a guest to talk to.</summary>
    public bool IsStarted => _toGuest.IsStarted && _fromGuest.IsStarted;

    /// <summary>The guest uses the pair; otherwise it gets no packets here.</summary>
    internal bool IsActive { get => Volatile.Read(ref _isActive); set => Volatile.Write(ref _isActive, value); }

    /// <summary>Whether the worker of the queue to the guest calls the handler at present, and the guest uses the pair.</summary>
    internal bool TakesPackets => IsActive && _toGuest.IsServed;

    /// <summary>Packets to the guest (its receiveq), that <see cref="EnqueueBurst"/> has given it; exact when no thread is inside. Any thread.</summary>
    public NetQueueStatistics ToGuest => _toGuest.Snapshot();

    /// <summary>Packets from the guest (its transmitq), that <see cref="DequeueBurst"/> and <see cref="LendBurst"/> have taken; exact when no thread is inside. Any thread.</summary>
    public NetQueueStatistics FromGuest => _fromGuest.Snapshot();

    /// <summary>How this end and the guest notify each other of packets to the guest.</summary>
    public NetPortNotifications ToGuestNotifications => _toGuest.Notifications;

    /// <summary>How this end and the guest notify each other of packets from the guest.</summary>
    public NetPortNotifications FromGuestNotifications => _fromGuest.Notifications;

    /// <summary>Makes <see cref="INetHandler.ToGuest"/> be called soon, where the queues have workers. Any thread; never waits.</summary>
    public void RequestToGuest() => _toGuest.Wake();

    /// <summary>
    /// Only with <see cref="QueueDispatch.Application"/>: waits until there may be packets from the guest, and before that for a guest. It may return without reason.
    /// </summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="InvalidOperationException">The device has an <see cref="INetHandler"/>, and the queue a worker that calls it, or no guest.</exception>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    public ValueTask WaitForPacketsAsync(CancellationToken cancellationToken = default) => _fromGuest.WaitAsync(cancellationToken);

    /// <summary>
    /// Only with <see cref="QueueDispatch.Application"/>: waits until the guest may have room for packets again, and before that for a guest. It may return without reason. While the guest does
    /// not use this pair (<see cref="NetDevice.ActivePairs"/>), it waits until the guest does.
    /// </summary>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="InvalidOperationException">The device has an <see cref="INetHandler"/>, and the queue a worker that calls it, or no guest.</exception>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    public ValueTask WaitForRoomAsync(CancellationToken cancellationToken = default) =>
        IsActive ? _toGuest.WaitAsync(cancellationToken) : _toGuest.WaitForWakeAsync(cancellationToken);

    /// <summary>Whether the guest can be given a packet with what is left to do to it. Inside the call of <see cref="INetHandler.ToGuest"/>.</summary>
    internal bool CanOffload(PacketBuffer packet)
    {
        ulong word = packet.OffloadWord;
        return OffloadRules.IsNone(word) || _toGuest.Offloads.Judge(ref word, packet.ChecksumOffset, (uint)packet.PacketLength) != OffloadVerdict.Refuse;
    }

    /// <summary>What the guest has sent stays on its ring at present. Inside the call of <see cref="INetHandler.FromGuest"/>.</summary>
    internal void LeaveFromGuest()
    {
        if (_fromGuest.TryEnter(out DeviceVirtqueue? queue, out ApplicationQueue? entered))
        {
            queue.LeaveOnRing();
            NetPortQueue.Exit(entered);
        }
    }

    /// <summary>Makes <see cref="INetHandler.FromGuest"/> be called soon.</summary>
    internal void RequestFromGuest() => _fromGuest.Wake();

    /// <summary>Packets that were taken and could not be given to the guest. Inside the call of <see cref="INetHandler.ToGuest"/>.</summary>
    internal long RefusedToGuest => _toGuest.Counters.Refused;

    internal void Configure(VirtioFeatures acknowledged)
    {
        _toGuest.Configure(acknowledged, OffloadRules.ToDriver(acknowledged));
        _fromGuest.Configure(acknowledged, OffloadRules.FromDriver(acknowledged));
    }

    internal void Started(ApplicationQueue queue) => Of(queue.Index).Started(queue);

    internal void Stopped(ApplicationQueue queue) => Of(queue.Index).Stopped(queue);

    internal void Process(DeviceVirtqueue queue, INetHandler handler)
    {
        bool toGuest = (queue.Index & 1) == 0;
        NetPortQueue own = toGuest ? _toGuest : _fromGuest;
        if (toGuest)
            queue.See();
        int before = queue.InFlight;
        own.BeginProcess(queue);
        try
        {
            if (toGuest)
                handler.ToGuest(this);
            else
                handler.FromGuest(this);
        }
        finally
        {
            own.EndProcess(queue);
        }

        // Buffers that nobody has packets for stay on the ring, and are no reason to call the handler again.
        if (toGuest && queue.InFlight == before)
            queue.LeaveSeen();
    }

    /// <summary>A queue that nobody serves: whatever is on it stays there.</summary>
    internal static void Ignore(DeviceVirtqueue queue)
    {
        queue.LeaveOnRing();
    }

    internal void Forget()
    {
        Volatile.Write(ref _announced, 0); // of the guest that is gone
        _toGuest.Forget();
        _fromGuest.Forget();
    }

    private NetPortQueue Of(int queue) => (queue & 1) == 0 ? _toGuest : _fromGuest;
}
