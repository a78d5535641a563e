using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Requests that were taken from a queue in one call, in the order in which the driver made them available. Each is validated like a single one.</summary>
/// <remarks>
/// Lifetime: until the next call that takes requests from the same queue; <see cref="DescriptorChain.Detach"/> lends one of them for longer.
/// Threading: the thread that serves the queue.
/// </remarks>
public readonly ref struct ChainBurst
{
    private readonly DeviceVirtqueue _queue;
    private readonly ChainBatch _batch;
    private readonly int _first;

    internal ChainBurst(DeviceVirtqueue queue, ChainBatch batch, int first, int count)
    {
        _queue = queue;
        _batch = batch;
        _first = first;
        Count = count;
    }

    /// <summary>How many; 0 when there was nothing to take, or the queue is faulted.</summary>
    public int Count { get; }

    /// <summary>One of them, by its place in the burst.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The place is not from 0 to <see cref="Count"/> - 1.</exception>
    public DescriptorChain this[int place]
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            ref readonly FetchedChain chain = ref Fetched(place);
            return new DescriptorChain(_queue, _first + place, chain.Id, _batch.Readable(chain), _batch.Writable(chain));
        }
    }

    /// <summary>The buffers of one of them that the device reads: the same as in the chain, at less cost.</summary>
    /// <param name="place">Its place in the burst.</param>
    /// <exception cref="ArgumentOutOfRangeException">The place is not from 0 to <see cref="Count"/> - 1.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GuestBuffers Readable(int place) => _batch.Readable(Fetched(place));

    /// <summary>The buffers of one of them that the device writes: the same as in the chain, at less cost.</summary>
    /// <param name="place">Its place in the burst.</param>
    /// <exception cref="ArgumentOutOfRangeException">The place is not from 0 to <see cref="Count"/> - 1.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GuestBuffers Writable(int place) => _batch.Writable(Fetched(place));

    /// <summary>The start of what the device writes of one of them.</summary>
    /// <param name="place">Its place in the burst.</param>
    /// <param name="length">Not more than it has.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal GuestBuffers WritableStart(int place, uint length) => _batch.WritableStart(Fetched(place), length);

    /// <summary>Reads one value from the start of what the device reads of one of them. False when that is shorter.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryRead<T>(int place, out T value)
        where T : unmanaged => _batch.TryRead(Fetched(place), out value);

    /// <summary>Writes the last byte of what the device writes of one of them. False when it writes nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal bool TryWriteLast(int place, byte value) => _batch.TryWriteLast(Fetched(place), value);

    /// <summary>The burst and what was taken right behind it.</summary>
    internal ChainBurst With(int more) => new(_queue, _batch, _first, Count + more);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ref readonly FetchedChain Fetched(int place)
    {
        if ((uint)place >= (uint)Count)
        {
            ThrowOutside(place);
        }

        return ref _batch[_first + place];
    }

    private void ThrowOutside(int place) => throw new ArgumentOutOfRangeException(nameof(place), place, $"The burst has {Count} chains.");
}
