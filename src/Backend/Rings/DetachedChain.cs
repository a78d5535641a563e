using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A chain that outlives the worker's turn, for devices that wait for something. It keeps the guest's memory mapped; complete it
/// exactly once, from any thread.
/// </summary>
/// <remarks>Pooled by its queue: after <see cref="Complete"/> the object may stand for another chain and must not be touched.</remarks>
public sealed class DetachedChain
{
    /// <summary>Pieces that nearly no chain has more of: room that each object has.</summary>
    internal const int FewSegments = 8;

    private readonly DeviceVirtqueue _queue;
    private BufferSegment[] _segments = new BufferSegment[FewSegments];
    private int _readableCount;
    private int _count;
    private uint _readableLength;
    private uint _writableLength;
    private GuestMemoryLease _lease;
    private int _outstanding;

    /// <summary>Ranges of guest memory that were written, at the start of the segments.</summary>
    private int _touched;

    internal DetachedChain(DeviceVirtqueue queue) => _queue = queue;

    /// <summary>Index of the chain's first descriptor.</summary>
    public ushort Head { get; private set; }

    /// <summary>The buffers that the device reads.</summary>
    public GuestBuffers Readable => new(_segments.AsSpan(0, _readableCount), _readableLength);

    /// <summary>The buffers that the device writes.</summary>
    public GuestBuffers Writable => new(WritableSegments, _writableLength);

    /// <summary>The start of <see cref="Writable"/>.</summary>
    /// <param name="length">Not more than it has.</param>
    internal GuestBuffers WritableStart(uint length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, _writableLength);
        return new(WritableSegments, length);
    }

    /// <summary>Writes the last byte of what the device writes. False when it writes nothing.</summary>
    internal bool TryWriteLast(byte value) => BufferSegment.TryWriteLast(WritableSegments, value);

    private ReadOnlySpan<BufferSegment> WritableSegments => _segments.AsSpan(_readableCount, _count - _readableCount);

    internal uint BytesWritten { get; private set; }

    /// <summary>The device has given it up (<see cref="Leave"/>).</summary>
    internal bool IsLeft { get; private set; }

    /// <summary>What the chain counts for among those that are detached: its pieces, and one.</summary>
    internal int Weight => _count + 1;

    /// <summary>Gives the chain back to the driver; the queue's worker publishes it.</summary>
    /// <param name="bytesWritten">Bytes written to the start of <see cref="Writable"/>.</param>
    /// <exception cref="InvalidOperationException">The chain was completed before.</exception>
    public void Complete(uint bytesWritten)
    {
        DeviceVirtqueue queue = _queue;
        CompleteQuietly(bytesWritten);
        queue.Wake?.Invoke();
    }

    /// <summary>
    /// Gives the request up while its queue is being stopped without waiting for it (<see cref="ISuspendableDevice"/>): the driver is shown nothing of it, it stays noted in the in-flight region, and the next
    /// back-end is handed it again. Nothing is done for it any more, to its buffers least of all.
    /// </summary>
    /// <exception cref="InvalidOperationException">The chain was completed before, or its queue is not being stopped in this way: then the request would be lost.</exception>
    public void Leave()
    {
        DeviceVirtqueue queue = _queue;
        if (!queue.LeavesRequests)
            throw new InvalidOperationException($"Queue {queue.Index}: a request is given up only after SuspendQueue was called.");
        int weight = Weight;
        Release(_writableLength);
        IsLeft = true;
        HandBack(weight);
        queue.Wake?.Invoke();
    }

    /// <summary>The same as <see cref="Complete"/>, but the worker finds it only when somebody wakes it.</summary>
    internal void CompleteQuietly(uint bytesWritten)
    {
        int weight = Weight;
        Release(bytesWritten);
        BytesWritten = bytesWritten;
        HandBack(weight);
    }

    /// <summary>The queue has it before it counts it no more: a broken one may end once nothing counts, and marks what it has in the log. From then on this may stand for another chain.</summary>
    private void HandBack(int weight)
    {
        DeviceVirtqueue queue = _queue;
        queue.HandBack(this);
        queue.Released(weight);
    }

    /// <summary>Lets go of the guest's memory; it still counts. Before that it is noted where the guest has it that was written: the table may be another one when the worker marks it.</summary>
    internal void Release(uint bytesWritten)
    {
        if (Interlocked.Exchange(ref _outstanding, 0) == 0)
        {
            throw new InvalidOperationException("The chain was completed before.");
        }

        // The exchange is a full fence behind what was written: a log that begins after this look needs none of it.
        _touched = _queue.LogOfDetached is { } log ? NoteTouched(log.Touched(bytesWritten, _writableLength)) : 0;
        _lease.Dispose();
        _lease = default;
    }

    /// <summary>Marks what was noted when the chain was given back.</summary>
    internal void MarkTouched(QueueLog log)
    {
        foreach (BufferSegment touched in _segments.AsSpan(0, _touched))
            log.Wrote((ulong)touched.Address, touched.Length);
        _touched = 0;
    }

    /// <summary>Puts guest addresses in the place of the mappings of the bytes that were written, which nobody needs any more.</summary>
    private int NoteTouched(uint bytes)
    {
        int count = 0;
        for (int i = _readableCount; i < _count && bytes > 0; i++)
        {
            uint here = Math.Min(_segments[i].Length, bytes);
            bytes -= here;
            if (_lease.Memory.TryGetGuestAddress(_segments[i].Address, here, out GuestAddress at))
                _segments[count++] = new BufferSegment((nint)at.Value, here);
        }

        return count;
    }

    /// <summary>Takes a chain.</summary>
    /// <returns>For how many segments more than before there is room now.</returns>
    internal int Hold(ChainBatch batch, in FetchedChain chain, GuestMemory table)
    {
        Head = chain.Id;
        IsLeft = false;
        _readableCount = chain.ReadableEnd - chain.First;
        _count = chain.End - chain.First;
        _readableLength = chain.ReadableLength;
        _writableLength = chain.WritableLength;
        int more = Math.Max(_count - _segments.Length, 0);
        if (more > 0)
        {
            _segments = new BufferSegment[_count];
        }

        batch.Segments(chain).CopyTo(_segments);
        _lease = batch.Acquire(chain, table);
        Volatile.Write(ref _outstanding, 1);
        return more;
    }

    /// <summary>Gives up room that few chains need.</summary>
    /// <returns>For how many segments.</returns>
    internal int Shrink()
    {
        int less = _segments.Length - FewSegments;
        if (less > 0)
        {
            _segments = new BufferSegment[FewSegments];
        }

        return less;
    }
}
