namespace Vhost.Protocol;

/// <summary>What passed one queue of a network device in one direction, named as DPDK's vhost library names it; a snapshot.</summary>
/// <remarks>
/// <para>Both ends count the same queue. From the guest to the device (transmitq, queues 1, 3, …): <c>NetSender.Statistics</c> of a front-end, what it has sent, and <c>NetPort.FromGuest</c> of a back-end, what it
/// has received. From the device to the guest (receiveq, queues 0, 2, …): <c>NetPort.ToGuest</c> of a back-end, what it has sent, and <c>NetReceiver.Statistics</c> of a front-end, what it has received.
/// What is under way, or was dropped by the receiver, is counted by the sender alone.</para>
/// <para>Counts go up and are never reset while the object that counts lives: a <c>NetPort</c> goes on counting with the next front-end. Lengths are bytes of the packet, from its destination address on, without the virtio
/// header. <see cref="Multicast"/>, <see cref="Broadcast"/> and the size classes stay 0 unless <c>DetailedStatistics</c> is chosen in the options.</para>
/// </remarks>
public readonly record struct NetQueueStatistics
{
    /// <summary>Packets that passed: given to the other side, or received from it. Those that were dropped are not among them.</summary>
    public long Packets { get; init; }

    /// <summary>Their bytes.</summary>
    public long Bytes { get; init; }

    /// <summary>Packets to several stations, without those to all.</summary>
    public long Multicast { get; init; }

    /// <summary>Packets to all stations.</summary>
    public long Broadcast { get; init; }

    /// <summary>Packets below 64 bytes.</summary>
    public long Undersize { get; init; }

    /// <summary>Packets of 64 bytes.</summary>
    public long Size64 { get; init; }

    /// <summary>Packets of 65 to 127 bytes.</summary>
    public long Size65To127 { get; init; }

    /// <summary>Packets of 128 to 255 bytes.</summary>
    public long Size128To255 { get; init; }

    /// <summary>Packets of 256 to 511 bytes.</summary>
    public long Size256To511 { get; init; }

    /// <summary>Packets of 512 to 1023 bytes.</summary>
    public long Size512To1023 { get; init; }

    /// <summary>Packets of 1024 to 1518 bytes.</summary>
    public long Size1024To1518 { get; init; }

    /// <summary>Packets of 1519 bytes and more.</summary>
    public long Size1519AndMore { get; init; }

    /// <summary>Notifications sent to the other side: kicks by a front-end, calls by a back-end.</summary>
    public long Notifications { get; init; }

    /// <summary>Publications for which the other side had asked not to be notified.</summary>
    public long SuppressedNotifications { get; init; }

    /// <summary>Of a receiver: packets dropped because the other side broke a rule: no whole header, an offload that nobody negotiated or that points beyond the packet.</summary>
    public long Errors { get; init; }

    /// <summary>Of a receiver: packets dropped because the pool of the caller's buffers was empty.</summary>
    public long NoBuffers { get; init; }

    /// <summary>Of a sender: packets of the caller that were taken and dropped, since they cannot be sent: longer than the other side's buffers can be, or with an offload that it does not do.</summary>
    public long Refused { get; init; }

    /// <summary>
    /// Packets that were under way when a back-end was lost and another one took over: of a sender those that for all that is known nobody has taken (the lost one may have), of a receiver one of
    /// which only a part had come. They count among <see cref="Packets"/> too where they were sent. Always 0 of a back-end.
    /// </summary>
    public long Lost { get; init; }

    /// <summary>
    /// Buffers that are out: of a back-end those of the driver that are held here, lent packets included; of a front-end those that the device has, and those of lent packets.
    /// </summary>
    public int InFlight { get; init; }
}
