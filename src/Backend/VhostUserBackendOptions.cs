using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Options of a <see cref="VhostUserBackend"/>. The defaults serve any front-end.</summary>
public sealed record VhostUserBackendOptions
{
    /// <summary>Most memory regions that a back-end serves (the limit of libvhost-user and QEMU).</summary>
    public const int MemorySlotLimit = 509;

    /// <summary>
    /// What the back-end is called in measurements (<see cref="VhostUserBackend.MeterName"/>) and in log lines about its queues. Default: the path of the socket that it listens on or connects to;
    /// an inherited socket has none.
    /// </summary>
    public string? Name { get; init; }

    /// <summary>The most translations of an IOMMU that can be kept (<see cref="IotlbEntries"/>).</summary>
    public const int IotlbEntryLimit = 65536;

    /// <summary>Feature bits of the device that are not offered. Default: none are held back.</summary>
    public VirtioFeatures WithheldFeatures { get; init; }

    /// <summary>
    /// Feature bits that are offered only on request: ACCESS_PLATFORM (addresses are those of an IOMMU, which the front-end translates; a front-end that hands on to its guest whatever is offered would acknowledge it
    /// without having one). A device needs nothing special for it, and is not told. QEMU wants it for <c>iommu_platform=on</c>. Default: none.
    /// </summary>
    public VirtioFeatures AdditionalFeatures { get; init; }

    /// <summary>
    /// Translations of an IOMMU that are known at a time, 1 to <see cref="IotlbEntryLimit"/>; the oldest that no ring lies in makes room. A single request whose buffers lie in more pages than these, at 4096 bytes a page
    /// where the front-end's IOMMU has no larger ones, waits for ever: it asks as fast as it is answered at first, and then once in <see cref="IotlbRetry"/>, as do several requests that together need more, of which one
    /// after the other is served. Default: 2048, the number that DPDK keeps.
    /// </summary>
    public int IotlbEntries { get; init; } = 2048;

    /// <summary>
    /// How long a translation that was asked for may stay unanswered before it is asked for once more. 1 ms to 49 days. Default: 1 second.
    /// </summary>
    public TimeSpan IotlbRetry { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Protocol bits that are not offered, for a front-end that cannot do with them or a test that must do without. Default: none are held back; the back-end offers all that it implements.
    /// </summary>
    public VhostUserProtocolFeatures WithheldProtocolFeatures { get; init; }

    /// <summary>
    /// Protocol bits that are offered only on request: INBAND_NOTIFICATIONS (kicks and interrupts as messages; QEMU acknowledges it without implementing it), CROSS_ENDIAN (a front-end may say that legacy rings are
    /// little-endian, as they are here), GPA_ADDRESSES (the front-end says guest-physical addresses alone), HOST_NOTIFIER (<see cref="VhostUserBackendRequests.SetHostNotifierAsync"/>) and PAGEFAULT (a guest may run before
    /// all of its memory has arrived; needs userfaultfd and Linux 5.14; the front-end gets a userfaultfd of this process, with which it can write to memory that is not the guest's, so only for front-ends that are trusted). PAGEFAULT takes the place of CONFIGURE_MEM_SLOTS, as the specification does not say what the two mean together, unless that is named here too, and does not go together with ACCESS_PLATFORM. Default: none.
    /// </summary>
    public VhostUserProtocolFeatures AdditionalProtocolFeatures { get; init; }

    /// <summary>How <see cref="VhostUserBackend.ConnectAsync"/> looks for its front-end; null: it tries once, and ends with its front-end.</summary>
    public ConnectRetry? Retry { get; init; } = new();

    /// <summary>How queues wait for the driver. Default: <see cref="QueueDispatch.Async"/>.</summary>
    public QueueDispatch Dispatch { get; init; } = QueueDispatch.Async;

    /// <summary>
    /// Processors that the queues' threads are bound to: queue <c>i</c> to <c>Processors[i % Processors.Count]</c>.
    /// Empty: not bound. Only for queues with <see cref="QueueDispatch.DedicatedThread"/> and <see cref="QueueDispatch.BusyPoll"/>, and refused where no queue has a thread of its own; each must be of
    /// <see cref="QueueThreads.AllowedProcessors"/>.
    /// </summary>
    public IReadOnlyList<int> Processors { get; init; } = [];

    /// <summary>The threads that serve the queues with <see cref="QueueDispatch.SharedThreads"/>; refused where no queue is served so. Stay the caller's, and may serve other back-ends too.</summary>
    public QueueThreads? Threads { get; init; }

    /// <summary>
    /// Which of <see cref="Threads"/> serves a queue, from 0: called with the index of a queue when it starts. Default: one that has the fewest queues then.
    /// A thread that there is not breaks the queue, and the log says so. Refused without <see cref="Threads"/>.
    /// </summary>
    public Func<int, int>? ThreadOf { get; init; }

    /// <summary>
    /// Longest time that stopping a queue waits for requests that the device has not completed, and that another change of a running queue waits for the
    /// device to return from processing. A front-end that asks where the queue goes on (GET_VRING_BASE), removes memory or withdraws a translation is not told then that it is done: the session ends, but for packets that
    /// are lent while a queue is stopped. A reset, and the end of a session, go past what is not done, and the front-end takes the end for a sign that its memory is used no more: stop a back-end whose
    /// device may need longer only together with its process. More than 0, at most 49 days; never infinite, since a device that does not return would keep the back-end from its next front-end. Default: 5 seconds.
    /// </summary>
    public TimeSpan DrainTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Longest time that a front-end may take to deliver each page of memory that is still under way (PAGEFAULT) and that a request or a ring needs; then it loses the connection. The queue that waits holds up no other one.
    /// Default: 5 minutes, since a front-end may have to wait for a network to come back; <see cref="Timeout.InfiniteTimeSpan"/> for no limit.
    /// </summary>
    public TimeSpan PageTimeout { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// Refuses memory that its owner can still take away: whose file can be shortened (no F_SEAL_SHRINK), or has huge pages, of which a hole may take one for good. Touching what was taken away ends the process;
    /// memory on an ordinary file and huge pages cannot be sealed against it, therefore the default is false.
    /// </summary>
    public bool RequireSealedMemory { get; init; }

    /// <summary>Memory regions to accept at the same time, 1 to <see cref="MemorySlotLimit"/>.</summary>
    public int MaxMemorySlots { get; init; } = MemorySlotLimit;

    /// <summary>
    /// Bytes that a front-end may have mapped here at the same time: its memory, which counts twice while it is under way (postcopy), and its dirty log. A table that replaces another one counts alone, though both are mapped for a
    /// moment. A process has 128 TiB of addresses for all that it maps; a file without content costs a front-end nothing, so one without
    /// a limit could take them all. Pages that a request is the first to touch are charged to this process, so near the size of the guest this bounds that, too. 1 or more; default: 1 TiB, more than nearly all guests have.
    /// </summary>
    public ulong MaxMemoryBytes { get; init; } = 1UL << 40;

    /// <summary>
    /// Longest time that sending a reply may take before the connection is given up: the front-end does not read. Default: 5 seconds; <see cref="Timeout.InfiniteTimeSpan"/> for no limit.
    /// A listener or connection made elsewhere brings its own.
    /// </summary>
    public TimeSpan SendTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Longest time that a message may take to arrive once its first byte has; a front-end that stops in the middle of one loses the connection.
    /// Default: 10 seconds; <see cref="Timeout.InfiniteTimeSpan"/> for no limit. A listener or connection made elsewhere brings its own.
    /// </summary>
    public TimeSpan MessageTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// How long a front-end may take to its first message while another one waits for its turn; then it loses its turn. While nobody waits it may
    /// take as long as it likes, since hypervisors connect before they prepare the memory of a large guest. Default: 10 seconds;
    /// <see cref="Timeout.InfiniteTimeSpan"/> for no limit.
    /// </summary>
    public TimeSpan FirstMessageTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Longest silence of a front-end between two messages. Default: <see cref="Timeout.InfiniteTimeSpan"/>, because a front-end that works says
    /// nothing for hours. A limit is for back-ends whose front-ends are known to talk, or for tests.
    /// </summary>
    public TimeSpan IdleTimeout { get; init; } = Timeout.InfiniteTimeSpan;

    /// <summary>
    /// How long a socket that is listened on takes no front-end after one that broke the rules and was thrown out. The first sixteen cost nothing, and one more is forgiven each time that this has passed; then one that
    /// comes again and again is let in once in this time, and the other devices of the process have the processors. Up to sixteen that have come during a pause are let in together after it, so that the last one of a
    /// full backlog waits for a few pauses; those that have left again are dropped. One that just leaves is never followed by a pause. Default: 250 ms, at most an hour; zero: no pause.
    /// </summary>
    public TimeSpan ViolationPause { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>The most bytes that the state of an <see cref="IMigratableDevice"/> may have, in either direction: more is the end of the transfer, with an error. 1 or more. Default: 256 MiB.</summary>
    public long MaxDeviceStateSize { get; init; } = 256L << 20;

    /// <summary>
    /// How long a front-end may neither send nor take a byte of a device's state while the device waits for it; then the transfer has failed. As long as a front-end waits for a back-end by default, since one end of a migration cannot know what the other waits for. Default: 30 seconds; <see cref="Timeout.InfiniteTimeSpan"/> for no limit.
    /// </summary>
    public TimeSpan DeviceStateTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Ends the connection upon a request that this back-end does not know or implement and that asks for no reply. Default: false, such a request
    /// is ignored and logged. One that asks for a reply is answered with a refusal in either case, so that a newer front-end can do without.
    /// </summary>
    public bool CloseOnUnknownRequest { get; init; }

    /// <summary>Sees messages before and after the back-end; null: nobody does.</summary>
    public IVhostUserMessageHook? MessageHook { get; init; }

    /// <summary>Where log lines go; null: nowhere.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>For tests: called after every store into an in-flight area, where the process may end.</summary>
    internal Action? InflightStored { get; init; }

    /// <summary>The clock for time-outs.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;
}
