using System.Globalization;
using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// One queue of a block device, polled: for one thread that submits and collects by itself, without waiting, copying behind its back or allocating.
/// A request uses a slot: a header, a status and a data buffer in shared memory. The caller decides which slot does what; a slot is
/// free again when its completion was collected.
/// </summary>
/// <remarks>
/// <para>Submitted requests are shown to the device by <see cref="Publish"/>, so several can go out at once.</para>
/// <para>Once the queue is broken, the peer lost or a request overdue, submitting and polling throw: <see cref="VirtqueueException"/>,
/// <see cref="VhostUserDisconnectedException"/>, <see cref="VhostUserProtocolException"/> or <see cref="VhostUserTimeoutException"/>. What was outstanding is lost then.</para>
/// <para>Threading: one thread at a time. Disposing the client meanwhile is safe: the next call throws <see cref="ObjectDisposedException"/>.</para>
/// </remarks>
public sealed partial class BlockQueue
{
    private readonly DriverVirtqueue _ring;
    private readonly BlockSlots _slots;
    private readonly EventNotifier _kick;
    private readonly DriverCompletion[] _drained;

    /// <summary>For each slot in flight, the bytes an OK must have written; <see cref="Free"/> for a slot that is not.</summary>
    private readonly ulong[] _expected;

    internal BlockQueue(int index, DriverVirtqueue ring, BlockSlots slots, int depth, int bufferSize, EventNotifier kick, OverdueWatch overdue, bool canRebuild)
    {
        Index = index;
        Depth = depth;
        BufferSize = bufferSize;
        _ring = ring;
        _slots = slots;
        _kick = kick;
        _drained = new DriverCompletion[depth];
        _expected = new ulong[depth];
        Array.Fill(_expected, Free);
        _overdue = overdue;
        _outstanding = canRebuild ? new OutstandingRequests(depth) : null;
    }

    /// <summary>Which queue of the device this is.</summary>
    public int Index { get; }

    /// <summary>Slots, and so the most requests in flight: slots are numbered from 0.</summary>
    public int Depth { get; }

    /// <summary>Bytes of each slot's data buffer.</summary>
    public int BufferSize { get; }

    /// <summary>Requests submitted and not collected.</summary>
    public int InFlight => _ring.InFlight + _collected.Count;

    /// <summary>Copies data into a slot's buffer, to be written to the disk.</summary>
    /// <param name="slot">A slot that is not in flight.</param>
    /// <param name="source">The data.</param>
    /// <param name="at">Where in the buffer.</param>
    public void WriteBuffer(int slot, ReadOnlySpan<byte> source, int at = 0)
    {
        RequireFree(slot);
        Enter();
        try
        {
            _slots.Write(slot, source, checked((uint)at));
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Copies data out of a slot's buffer, after a read was collected.</summary>
    /// <param name="slot">A slot that is not in flight.</param>
    /// <param name="destination">Filled completely.</param>
    /// <param name="at">Where in the buffer.</param>
    public void ReadBuffer(int slot, Span<byte> destination, int at = 0)
    {
        RequireFree(slot);
        Enter();
        try
        {
            _slots.Read(slot, destination, checked((uint)at));
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Submits a read into the slot's buffer.</summary>
    /// <param name="slot">A free slot.</param>
    /// <param name="offset">First byte on the disk, a multiple of 512 (and of the block size, which the device checks).</param>
    /// <param name="length">Bytes, at most <see cref="BufferSize"/>.</param>
    /// <returns>False when the ring has no room at present.</returns>
    public bool TrySubmitRead(int slot, ulong offset, int length) => TrySubmit(VirtioBlkRequestType.In, slot, offset, length, deviceWrites: true);

    /// <summary>Submits a write of the slot's buffer.</summary>
    /// <inheritdoc cref="TrySubmitRead(int, ulong, int)"/>
    public bool TrySubmitWrite(int slot, ulong offset, int length) => TrySubmit(VirtioBlkRequestType.Out, slot, offset, length, deviceWrites: false);

    /// <summary>Submits a flush: when it completes, all writes collected before it was submitted are durable.</summary>
    /// <param name="slot">A free slot.</param>
    /// <returns>False when the ring has no room at present.</returns>
    public bool TrySubmitFlush(int slot) => TrySubmit(VirtioBlkRequestType.Flush, slot, 0, 0, deviceWrites: false);

    /// <summary>Submits a discard of one range; the slot's buffer carries it.</summary>
    /// <param name="slot">A free slot.</param>
    /// <param name="offset">First byte on the disk, a multiple of 512.</param>
    /// <param name="length">Bytes, a multiple of 512.</param>
    /// <returns>False when the ring has no room at present.</returns>
    public bool TrySubmitDiscard(int slot, ulong offset, ulong length) => TrySubmitRange(VirtioBlkRequestType.Discard, slot, offset, length, VirtioBlkRangeFlags.None);

    /// <summary>Submits writing zeroes to one range; the slot's buffer carries it.</summary>
    /// <param name="slot">A free slot.</param>
    /// <param name="offset">First byte on the disk, a multiple of 512.</param>
    /// <param name="length">Bytes, a multiple of 512.</param>
    /// <param name="mayUnmap">Whether the device may give the space back.</param>
    /// <returns>False when the ring has no room at present.</returns>
    public bool TrySubmitWriteZeroes(int slot, ulong offset, ulong length, bool mayUnmap) =>
        TrySubmitRange(VirtioBlkRequestType.WriteZeroes, slot, offset, length, mayUnmap ? VirtioBlkRangeFlags.Unmap : VirtioBlkRangeFlags.None);

    /// <summary>Submits a request for the device's identity: 20 bytes into the slot's buffer.</summary>
    /// <param name="slot">A free slot.</param>
    /// <returns>False when the ring has no room at present.</returns>
    public bool TrySubmitGetId(int slot) => TrySubmit(VirtioBlkRequestType.GetId, slot, 0, VirtioBlkRequestHeader.IdSize, deviceWrites: true);

    /// <summary>
    /// Submits any request over any shared memory that the back-end was given: scatter and gather without a copy, or nonsense on purpose. The slot gives
    /// header and status, its data buffer is not used.
    /// </summary>
    /// <param name="slot">A free slot.</param>
    /// <param name="header">The request's header, sent as it is.</param>
    /// <param name="output">Buffers the device reads.</param>
    /// <param name="input">Buffers the device fills; together with <paramref name="output"/> at most the ring's size less two.</param>
    /// <returns>False when the ring has no room at present.</returns>
    /// <remarks>Memory of the caller's own gets to the back-end by <see cref="VhostUserFrontend.AddMemoryAsync"/>.</remarks>
    public bool TrySubmit(int slot, in VirtioBlkRequestHeader header, ReadOnlySpan<GuestBuffer> output, ReadOnlySpan<GuestBuffer> input)
    {
        RequireFree(slot);
        Span<GuestBuffer> chain = output.Length + input.Length <= 30 ? stackalloc GuestBuffer[32] : new GuestBuffer[output.Length + input.Length + 2];
        chain[0] = _slots.Header(slot);
        output.CopyTo(chain[1..]);
        Span<GuestBuffer> writable = chain[(1 + output.Length)..];
        input.CopyTo(writable);
        writable[input.Length] = _slots.Status(slot);
        bool submitted;
        Enter();
        try
        {
            _slots.WriteHeader(slot, header);
            submitted = _ring.TrySubmit(chain[..(1 + output.Length)], writable[..(input.Length + 1)], (ulong)slot);
            Note(slot, submitted, Sum(input));
            if (submitted)
                _outstanding?.Note(slot, header, chain[..(1 + output.Length)], writable[..(input.Length + 1)]);
        }
        finally
        {
            Leave();
        }

        return submitted || NoRoom();
    }

    /// <summary>Shows the submitted requests to the device, and kicks it if it asked for that.</summary>
    public void Publish()
    {
        Enter();
        try
        {
            if (_ring.Publish())
                _kick.Signal();
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Collects completions. Never waits.</summary>
    /// <param name="completions">Filled from the start.</param>
    /// <returns>How many; 0 when there are none at present.</returns>
    /// <exception cref="VhostUserException">The queue is broken, the peer lost or a request overdue.</exception>
    public int Poll(Span<BlockCompletion> completions)
    {
        int count;
        Enter();
        try
        {
            if (_collected.Count > 0)
                return TakeCollected(completions);
            count = _ring.Drain(_drained.AsSpan(0, Math.Min(completions.Length, _drained.Length)));
            for (int i = 1; i < count; i++)
                _slots.AskForStatus((int)_drained[i].Token);
            for (int i = 0; i < count; i++)
                completions[i] = Complete(_drained[i]);
        }
        finally
        {
            Leave();
        }

        if (count == 0)
            ThrowIfFailed();
        if (_overdue.IsDue())
            LookForOverdue();
        return count;
    }

    private bool TrySubmit(VirtioBlkRequestType type, int slot, ulong offset, int length, bool deviceWrites)
    {
        RequireFree(slot);
        if ((uint)length > (uint)BufferSize)
            ThrowTooLong(length);
        bool submitted;
        Enter();
        try
        {
            VirtioBlkRequestHeader header = new(type, 0, offset / VirtioBlkRequestHeader.SectorSize);
            submitted = TrySubmitPlain(slot, header, (uint)length, deviceWrites);
            Note(slot, submitted, deviceWrites ? (uint)length : 0);
            if (submitted)
                _outstanding?.Note(slot, header, (uint)length, deviceWrites);
        }
        finally
        {
            Leave();
        }

        return submitted || NoRoom();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool TrySubmitPlain(int slot, in VirtioBlkRequestHeader header, uint length, bool deviceWrites)
    {
        _slots.WriteHeader(slot, header);
        ReadOnlySpan<GuestBuffer> chain = _slots.Chain(slot, length);
        return length == 0
            ? _ring.TrySubmit(chain[..1], chain[2..], (ulong)slot)
            : deviceWrites
                ? _ring.TrySubmit(chain[..1], chain[1..], (ulong)slot)
                : _ring.TrySubmit(chain[..2], chain[2..], (ulong)slot);
    }

    private bool TrySubmitRange(VirtioBlkRequestType type, int slot, ulong offset, ulong length, VirtioBlkRangeFlags flags)
    {
        Span<byte> range = stackalloc byte[VirtioBlkRange.Size];
        new VirtioBlkRange(offset / VirtioBlkRequestHeader.SectorSize, checked((uint)(length / VirtioBlkRequestHeader.SectorSize)), flags).Write(range);
        WriteBuffer(slot, range);
        return TrySubmit(type, slot, 0, VirtioBlkRange.Size, deviceWrites: false);
    }

    private BlockCompletion Complete(in DriverCompletion done)
    {
        int slot = (int)done.Token;
        VirtioBlkStatus status = _slots.TakeStatus(slot);
        if (done.LengthClamped || (status == VirtioBlkStatus.Ok && done.BytesWritten < _expected[slot]))
            status = BlockCompletion.InvalidAnswer;
        _expected[slot] = Free;
        return new BlockCompletion(slot, status);
    }

    /// <summary>A read that is OK has filled all its data and the status; of other requests devices report all kinds of lengths.</summary>
    private void Note(int slot, bool submitted, ulong dataWritten)
    {
        if (submitted)
        {
            _expected[slot] = dataWritten == 0 ? 0 : dataWritten + 1;
            _overdue.Start(slot);
        }
    }

    private bool NoRoom()
    {
        ThrowIfFailed();
        return false;
    }

    private void RequireFree(int slot)
    {
        if ((uint)slot >= (uint)_expected.Length || _expected[slot] != Free)
            ThrowNotFree(slot);
    }

    private static ulong Sum(ReadOnlySpan<GuestBuffer> buffers)
    {
        ulong sum = 0;
        foreach (GuestBuffer buffer in buffers)
            sum += buffer.Length;
        return sum;
    }

    private void ThrowNotFree(int slot)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(slot);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(slot, Depth);
        throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"Slot {slot} of queue {Index} is in flight."));
    }

    private void ThrowTooLong(int length) =>
        throw new ArgumentOutOfRangeException(nameof(length), length, string.Create(CultureInfo.InvariantCulture, $"A slot's buffer holds 0 to {BufferSize} bytes."));
}
