using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// What a device author writes. Only <see cref="QueueCount"/>, <see cref="Features"/> and <see cref="Process"/> are needed;
/// everything else has a default. Implement it with a class: the default members of an interface box a struct.
/// </summary>
/// <remarks>
/// <para>
/// Threads: <see cref="Process"/> runs on the worker of its queue, one call at a time a queue, different queues at the same time.
/// All other members are called from the session, one at a time, and may overlap with <see cref="Process"/> except where noted.
/// </para>
/// <para>
/// An exception out of <see cref="Process"/> breaks that queue, and is logged with its stack; out of any other member it refuses the message that led to the call.
/// </para>
/// <para>
/// After a crash: a front-end may keep a region in which the library notes which requests were taken (INFLIGHT_SHMFD; QEMU does so for disks). When the process is killed, the next one is handed what was
/// taken and not shown to the driver as completed, in the order in which it was taken, before anything new. The device cannot tell such a request from a new one. It may have been executed
/// before, wholly or in part, and more than once if that process was killed too; what was shown as completed never comes again. So executing a request again must do no harm (reading or writing the
/// same data does none: while a request is not answered, no driver counts on what it has done), or the device keeps its own durable record, made before it completes the request, by a number that the request
/// itself carries. A device that can do neither withholds the feature (<see cref="VhostUserBackendOptions.WithheldProtocolFeatures"/>); what becomes of such requests is then the front-end's to say.
/// </para>
/// </remarks>
public interface IVhostUserDevice
{
    /// <summary>Number of queues, 1 to 256. Constant.</summary>
    int QueueCount { get; }

    /// <summary>Largest queue size that the device takes, in descriptors: a power of two from 1 to 32768.</summary>
    ushort MaxQueueSize => 1024;

    /// <summary>
    /// Feature bits to offer: the device's own, and of the ring's bits VERSION_1, INDIRECT_DESC, EVENT_IDX, IN_ORDER, RING_PACKED and ANY_LAYOUT.
    /// Bits that this back-end does not implement are not offered, even when they are named here. Constant during a session.
    /// </summary>
    VirtioFeatures Features { get; }

    /// <summary>Length of the device's configuration space in bytes, 0 to 256. 0: the device has none, and CONFIG is not offered.</summary>
    int ConfigLength => 0;

    /// <summary>Reads configuration space. The range lies within <see cref="ConfigLength"/>.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="destination">Is filled completely; its length is the number of bytes asked for.</param>
    /// <returns>Whether the range could be read; false is answered to the front-end as an error.</returns>
    bool TryReadConfig(uint offset, Span<byte> destination) => false;

    /// <summary>Writes configuration space on behalf of the driver. The range lies within <see cref="ConfigLength"/>.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="source">The bytes.</param>
    /// <returns>Whether every byte may be written by a driver; with false nothing was changed.</returns>
    bool TryWriteConfig(uint offset, ReadOnlySpan<byte> source) => false;

    /// <summary>
    /// Restores configuration space after a migration: fields that a driver may only read must be taken too.
    /// The default does what <see cref="TryWriteConfig"/> does.
    /// </summary>
    /// <param name="offset">First byte.</param>
    /// <param name="source">The bytes.</param>
    /// <returns>Whether the bytes were taken; with false nothing was changed.</returns>
    bool TryRestoreConfig(uint offset, ReadOnlySpan<byte> source) => TryWriteConfig(offset, source);

    /// <summary>The driver acknowledged these features. No queue runs during the call. May be called again with another set.</summary>
    /// <param name="acknowledged">A subset of what was offered, without the protocol's own bit 30.</param>
    void Configure(VirtioFeatures acknowledged)
    {
    }

    /// <summary>
    /// Serves a queue: pops what is there, completes it or detaches it for later, and returns. Completions are published when it returns.
    /// Must not wait: use <see cref="DescriptorChain.Detach"/> for work that takes time.
    /// </summary>
    /// <remarks>
    /// <para>
    /// It may return before the queue is empty, and should after a number of requests (64, say): a driver can offer requests as fast as they are answered, and while the call lasts the queue can be neither
    /// stopped nor changed, which ends the connection after <see cref="VhostUserBackendOptions.DrainTimeout"/>. What was left is not lost, and needs no further kick: the worker publishes, does what the
    /// front-end asks, gives other queues of its thread their turn, and calls again.
    /// </para>
    /// <para>
    /// It is called again without a pause as long as requests are there; returning with nothing taken keeps a processor busy. A device that cannot carry them out at present takes and detaches them all the same.
    /// Whatever is detached is waited for when the queue is stopped, and costs the session when it is not completed within <see cref="VhostUserBackendOptions.DrainTimeout"/>: buffers for what comes from elsewhere,
    /// perhaps never (received packets, events), are left on the ring until there is something to put into them, by having the application serve that queue (<see cref="IApplicationServedDevice"/>,
    /// <see cref="DispatchOf"/>).
    /// </para>
    /// <para>Calls for several queues may run at the same time: a buffer or a counter that they share needs protection, or is one for each queue or each call.</para>
    /// </remarks>
    /// <param name="queue">The queue, to be used during the call only; but for <see cref="DeviceVirtqueue.CallDriver"/>, which any thread may call, also when the queue has stopped.</param>
    void Process(DeviceVirtqueue queue);

    /// <summary>
    /// Whether the number of bytes with which a chain is completed is all that the device has written to it. Then only these pages are marked in the dirty log of a migration; otherwise, which is the
    /// default and always right, all writable buffers of the chain are. A block device, which puts a status behind data that it may not have written, leaves it at that.
    /// </summary>
    bool ReportsAllWrites => false;

    /// <summary>
    /// Another way to serve one queue than the others, for example a control queue: that it needs no processor, or is served with
    /// <see cref="QueueDispatch.Application"/> too (by an <see cref="IApplicationServedDevice"/>). Called when a back-end is made for the device, which then knows whether its options have what the queues
    /// need, and each time the queue starts. An exception is one of the back-end's constructor, and breaks the queue later.
    /// </summary>
    /// <param name="queue">Which queue.</param>
    /// <param name="chosen"><see cref="VhostUserBackendOptions.Dispatch"/>.</param>
    /// <returns>How the queue is served. Default: as chosen.</returns>
    QueueDispatch DispatchOf(int queue, QueueDispatch chosen) => chosen;

    /// <summary>Back to the initial state: the front-end asked for it or went away. No queue runs during the call.</summary>
    void Reset()
    {
    }
}
