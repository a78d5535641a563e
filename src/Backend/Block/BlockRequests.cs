using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The requests of one queue that the kernel works on, each with a chain that keeps the guest's memory. Handed over in batches; a request that takes several steps
/// (a short transfer, many ranges, a flush behind a write) begins the next when one has ended.
/// </summary>
/// <remarks>Threading: the queue's worker; after <see cref="Leave"/> a task of its own.</remarks>
internal sealed partial class BlockRequests : IQueueWork
{
    /// <summary>Steps of one turn: they cost more than their bytes where guests have cut their buffers into the smallest pieces.</summary>
    private const int MostSteps = 1024;

    /// <summary>The most requests that are made ahead, so that more in flight than ever before allocate nothing: some 100 KiB.</summary>
    private const int MadeAhead = 256;

    private readonly BlockDevice _device;
    private readonly FileStorage _file;
    private readonly DeviceVirtqueue _queue;
    private readonly IoRing _ring;
    private readonly BlockRequest?[] _requests;
    private readonly Stack<BlockRequest> _free = new();
    private readonly BounceLane _lane = new();
    private int _made;
    private int _steps;

    private BlockRequests(BlockDevice device, FileStorage file, DeviceVirtqueue queue, IoRing ring)
    {
        _device = device;
        _file = file;
        _queue = queue;
        _ring = ring;
        _requests = new BlockRequest?[ring.Places];
        int ahead = Math.Min(MadeAhead, ring.Places);
        _free.EnsureCapacity(ahead);
        while (_made < ahead)
            _free.Push(Make());
        queue.MakeDetachable(ahead);
    }

    public EventNotifier Completed => _ring.Completed;

    public bool IsIdle => !_ring.HasCompletions && _ring.Prepared == 0;

    /// <summary>Bytes that were handed to the kernel since the turn began; it copies what is in the page cache in the same call.</summary>
    internal ulong Moved { get; private set; }

    private bool HasMovedEnough => Moved >= BlockTurn.MostBytes || _steps >= MostSteps;

    /// <summary>Null when there can be no ring; the queue then does without.</summary>
    internal static BlockRequests? TryOpen(BlockDevice device, FileStorage file, DeviceVirtqueue queue) =>
        file.TryOpenRing(queue.Size) is { } ring ? new BlockRequests(device, file, queue, ring) : null;

    public void Advance()
    {
        (Moved, _steps) = (0, 0);
        TakeCompleted();
    }

    /// <summary>Goes on with what has completed, as far as the turn lasts; the worker looks again for the rest.</summary>
    private void TakeCompleted()
    {
        bool any = false;
        while (!HasMovedEnough && _ring.TryTake(out int place, out int result))
        {
            End(_requests[place]!, result);
            any = true;
        }

        if (!any && _ring.Prepared == 0)
            return;
        Submit();
        _queue.Flush();
    }

    /// <summary>Hands what was begun to the kernel, and gives back what it could do at once.</summary>
    internal void HandOver()
    {
        if (_ring.Prepared == 0)
            return;
        Submit();
        TakeCompleted();
    }

    /// <summary>
    /// Begins to read. A request that comes alone is read at once if the data is at hand, and if it is not too long; of many the kernel does that itself, for less each.
    /// </summary>
    /// <returns>Whether the request is done.</returns>
    internal bool TryRead(in DescriptorChain chain, ulong offset, in GuestBuffers destination, bool alone)
    {
        bool atOnce = alone && _ring.Prepared == 0 && destination.Length <= BlockTurn.MostAtOnce;
        uint done = atOnce ? _file.ReadNow(offset, destination) : 0;
        if (done == destination.Length)
            return true;
        BeginTransfer(chain, BlockStep.Read, offset, destination, done);
        return false;
    }

    /// <summary>Writes at once what can be written, if it is not too long, and begins the rest.</summary>
    /// <returns>Whether the request is done.</returns>
    internal bool TryWrite(in DescriptorChain chain, ulong offset, in GuestBuffers source, bool durable)
    {
        uint done = durable || source.Length > BlockTurn.MostAtOnce ? 0 : _file.WriteNow(offset, source);
        if (done == source.Length && !_device.WritesThrough)
            return true;
        if (done == source.Length)
        {
            Flush(chain); // the cache was turned off meanwhile, perhaps too late for the flush of whoever did that
            return false;
        }

        BeginTransfer(chain, BlockStep.Write, offset, source, done, durable);
        return false;
    }

    /// <summary>Begins to make durable what was completed so far.</summary>
    internal void Flush(in DescriptorChain chain) => Continue(Begin(chain, BlockStep.Sync));

    /// <summary>Begins to change ranges, which were checked.</summary>
    internal void Change(in DescriptorChain chain, VirtioBlkRequestType type, ReadOnlySpan<byte> ranges)
    {
        BlockRequest request = Begin(chain, type == VirtioBlkRequestType.Discard ? BlockStep.Discard : BlockStep.WriteZeroes);
        request.SetRanges(ranges);
        Continue(request);
    }

    public void Leave()
    {
        if (_ring.InFlight == 0)
            _ring.Dispose();
        else
            _ = FinishAloneAsync();
    }
}
