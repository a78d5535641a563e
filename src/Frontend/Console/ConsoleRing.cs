using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>One queue of a console client: the ring, and a buffer for each of its entries.</summary>
/// <remarks>Threading: one thread at a time.</remarks>
internal abstract class ConsoleRing : IDisposable
{
    private const ulong Page = 4096;

    private readonly GuestMemoryLease _lease;
    private readonly DriverVirtqueue _ring;
    private readonly ulong _slots;
    private readonly DriverCompletion[] _done = new DriverCompletion[1];
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();
    private readonly int _index;

    protected ConsoleRing(int index, GuestMemory memory, ulong at, ConsoleClientOptions options, VirtioFeatures features)
    {
        _index = index;
        SlotSize = options.BufferSize;
        _ring = DriverVirtqueue.Create(memory, new GuestAddress(at), Shape(options), features);
        _lease = memory.Acquire();
        _slots = at + RingBytes(options, features);
        _ring.DisarmCall();
    }

    /// <summary>What the back-end is told.</summary>
    internal VringSettings Settings => _ring.Describe(_index, _kick, _call);

    internal int SlotSize { get; }

    protected int Size => _ring.Size;

    protected int InFlight => _ring.InFlight;

    public void Dispose()
    {
        _ring.Dispose();
        _lease.Dispose();
        _kick.Dispose();
        _call.Dispose();
    }

    /// <summary>Memory that a queue takes, in bytes.</summary>
    internal static ulong SizeInBytes(ConsoleClientOptions options, VirtioFeatures features) =>
        RoundUp(RingBytes(options, features) + ((ulong)options.QueueSize * (ulong)options.BufferSize));

    protected void Offer(uint slot, int length, bool deviceWrites)
    {
        GuestBuffer buffer = new(AddressOf(slot), (uint)length);
        if (deviceWrites)
            _ring.TrySubmit([], [buffer], slot);
        else
            _ring.TrySubmit([buffer], [], slot);
    }

    protected void Publish()
    {
        if (_ring.Publish())
            _kick.Signal();
    }

    /// <summary>The next buffer that the device has given back.</summary>
    /// <exception cref="VirtqueueException">The device broke the ring.</exception>
    protected bool TryCollect(out DriverCompletion done)
    {
        bool any = _ring.Drain(_done) == 1;
        done = _done[0];
        if (!any && _ring.Fault != VirtqueueFault.None)
            throw new VirtqueueException(_index, _ring.Fault, _ring.FaultDetail ?? "");
        return any;
    }

    protected void Copy(uint slot, Span<byte> destination) => _lease.TryCopyTo(AddressOf(slot), destination);

    protected void Copy(ReadOnlySpan<byte> source, uint slot) => _lease.TryCopyFrom(source, AddressOf(slot));

    /// <summary>Waits until the device may have given something back.</summary>
    protected async ValueTask WaitForCallAsync(CancellationToken stop)
    {
        stop.ThrowIfCancellationRequested(); // a wait that has no reason to wait does not look
        if (_ring.ArmCall())
            await _call.WaitAsync(stop).ConfigureAwait(false);
        _call.TryConsume();
        _ring.DisarmCall();
    }

    private static DriverVirtqueueOptions Shape(ConsoleClientOptions options) => new() { Size = options.QueueSize };

    private static ulong RingBytes(ConsoleClientOptions options, VirtioFeatures features) => RoundUp(DriverVirtqueue.SizeInBytes(Shape(options), features));

    private static ulong RoundUp(ulong bytes) => (bytes + Page - 1) / Page * Page;

    private GuestAddress AddressOf(uint slot) => new(_slots + ((ulong)slot * (ulong)SlotSize));
}
