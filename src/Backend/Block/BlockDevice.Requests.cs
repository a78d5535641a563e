using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The requests themselves: header read once, checked, carried out, answered.</summary>
public sealed partial class BlockDevice
{
    /// <summary>
    /// Requests after which those that the kernel is to do are handed over, a power of two: so many that the system call costs little for each, so few that the
    /// driver goes on with the first while the kernel copies the next.
    /// </summary>
    private const int HandOverAfter = 16;

    /// <summary>No status: the request is answered later.</summary>
    private const VirtioBlkStatus Pending = (VirtioBlkStatus)0xFF;

    /// <inheritdoc/>
    public void Process(DeviceVirtqueue queue)
    {
        IQueueWork work = queue.Work ??= OpenWork(queue);
        if (work is LongRequest { IsIdle: false } goingOn)
        {
            goingOn.Advance();
            return;
        }

        BlockRequests? requests = work as BlockRequests;
        requests?.Advance();
        BlockTurn turn = new(queue, work, ref _counters[queue.Index]);
        int notHandedOver = 0;
        while (!turn.IsOver)
        {
            ChainBurst burst = turn.Take(_batchSize);
            if (burst.Count == 0)
                break;
            int served = Serve(queue, burst, ref turn);
            queue.GiveBack(burst.Count - served);
            queue.Flush();
            notHandedOver += served;
            if (requests is not null && notHandedOver >= HandOverAfter)
            {
                notHandedOver = 0;
                requests.HandOver();
            }
        }

        requests?.HandOver();
    }

    /// <summary>What the kernel does for a queue, or, where every request is carried out at once, the one that is too long for that.</summary>
    private IQueueWork OpenWork(DeviceVirtqueue queue)
    {
        BlockRequests? requests = _file is { IsAsynchronous: true } file ? BlockRequests.TryOpen(this, file, queue) : null;
        return requests is null ? new LongRequest(this, queue) : requests;
    }

    /// <summary>Carries requests out, or begins to, as many as the turn may still have.</summary>
    /// <returns>How many.</returns>
    private int Serve(DeviceVirtqueue queue, in ChainBurst burst, ref BlockTurn turn)
    {
        int place = 0;
        while (place < burst.Count && !turn.IsFull)
        {
            try
            {
                ServeEach(queue, burst, ref place, ref turn);
            }
            catch (Exception e)
            {
                LastStorageError = e;
                queue.Complete(burst.Fetched(place).Id, Answer(ref turn.Counters, burst, place, VirtioBlkStatus.IoError, 0));
                place++;
            }
        }

        return place;
    }

    /// <summary>Carries requests out until there are no more, the turn is full, or one throws, which is then the one at <paramref name="place"/>.</summary>
    private void ServeEach(DeviceVirtqueue queue, in ChainBurst burst, ref int place, ref BlockTurn turn)
    {
        for (; place < burst.Count && !turn.IsFull; place++)
        {
            ref readonly FetchedChain chain = ref burst.Fetched(place);
            turn.Count((ulong)chain.ReadableLength + chain.WritableLength);
            if (chain.WritableLength == 0 || !burst.TryRead(place, out VirtioBlkRequestHeader header))
            {
                Drop(queue, chain.Id, ref turn.Counters);
                continue;
            }

            uint written = 0;
            VirtioBlkStatus status = Execute(burst, place, header, ref turn, ref written);
            if (status != Pending)
                queue.Complete(chain.Id, Answer(ref turn.Counters, burst, place, status, written));
        }
    }

    /// <summary>Gives a request back that has no whole header, or nowhere to put a status.</summary>
    private static void Drop(DeviceVirtqueue queue, ushort head, ref BlockRequestCounters counters)
    {
        counters.Served++;
        counters.Dropped++;
        queue.Complete(head, 0);
    }

    /// <summary>Counts a request and writes its status.</summary>
    /// <returns>The used length: data written and the status byte.</returns>
    private static uint Answer(ref BlockRequestCounters counters, in ChainBurst burst, int place, VirtioBlkStatus status, uint written)
    {
        burst.TryWriteLast(place, (byte)status);
        return Count(ref counters, status, written);
    }

    private static uint Count(ref BlockRequestCounters counters, VirtioBlkStatus status, uint written)
    {
        counters.Served++;
        if (status == VirtioBlkStatus.Ok)
            return written + 1;
        counters.Failed++;
        return 1;
    }

    private VirtioBlkStatus Execute(in ChainBurst burst, int place, in VirtioBlkRequestHeader header, ref BlockTurn turn, ref uint written)
    {
        switch (header.Type)
        {
            case VirtioBlkRequestType.In:
                written = InputLength(burst, place);
                return Read(burst, place, header.Sector, written, ref turn);

            case VirtioBlkRequestType.Out:
                return Write(burst, place, header.Sector, ref turn);

            case VirtioBlkRequestType.Flush:
                return Flush(burst, place, turn.Later);

            case VirtioBlkRequestType.GetId:
                return GetId(Input(burst, place), ref written);

            case VirtioBlkRequestType.Discard or VirtioBlkRequestType.WriteZeroes when (BlockFeatures & VirtioBlkFeatures.Discard) != 0:
                return ChangeRanges(burst, place, header.Type, ref turn);

            default:
                return VirtioBlkStatus.Unsupported;
        }
    }

    /// <summary>All that the device writes but for the status.</summary>
    private static GuestBuffers Input(in ChainBurst burst, int place) => burst.WritableStart(place, InputLength(burst, place));

    private static uint InputLength(in ChainBurst burst, int place) => burst.Fetched(place).WritableLength - 1;

    private VirtioBlkStatus Read(in ChainBurst burst, int place, ulong sector, uint length, ref BlockTurn turn)
    {
        if (!IsInside(sector, length))
            return VirtioBlkStatus.IoError;
        if (turn.Later is not null)
            return ReadLater(burst, place, sector, ref turn);
        if (length > BlockTurn.MostAtOnce)
            return BeginLong(burst, place, BlockStep.Read, sector, length, ref turn);
        _storage.Read(SectorMath.ToBytes(sector), Input(burst, place));
        return VirtioBlkStatus.Ok;
    }

    [MethodImpl(MethodImplOptions.NoInlining)] // or the locals of these two would be cleared for requests that are carried out at once, too
    private static VirtioBlkStatus ReadLater(in ChainBurst burst, int place, ulong sector, ref BlockTurn turn) =>
        turn.Later!.TryRead(burst[place], SectorMath.ToBytes(sector), Input(burst, place), turn.IsAlone) ? VirtioBlkStatus.Ok : Pending;

    private VirtioBlkStatus Write(in ChainBurst burst, int place, ulong sector, ref BlockTurn turn)
    {
        GuestBuffers output = burst.Readable(place).Slice(VirtioBlkRequestHeader.Size);
        if (_readOnly || !IsInside(sector, output.Length))
            return VirtioBlkStatus.IoError;
        if (turn.Later is { } later)
            return later.TryWrite(burst[place], SectorMath.ToBytes(sector), output, _writeThrough) ? VirtioBlkStatus.Ok : Pending;
        if (output.Length > BlockTurn.MostAtOnce)
            return BeginLong(burst, place, BlockStep.Write, sector, output.Length, ref turn);
        _storage.Write(SectorMath.ToBytes(sector), output);
        if (_writeThrough)
            _storage.Flush();
        return VirtioBlkStatus.Ok;
    }

    /// <summary>It is carried out piece by piece in the turns that follow, and nothing else of the queue before it has ended.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static VirtioBlkStatus BeginLong(in ChainBurst burst, int place, BlockStep step, ulong sector, uint length, ref BlockTurn turn)
    {
        turn.Long!.Begin(burst[place], step, SectorMath.ToBytes(sector), length);
        turn.End();
        return Pending;
    }

    private VirtioBlkStatus Flush(in ChainBurst burst, int place, BlockRequests? later)
    {
        if (later is not null)
        {
            later.Flush(burst[place]);
            return Pending;
        }

        _storage.Flush();
        return VirtioBlkStatus.Ok;
    }

    private VirtioBlkStatus GetId(GuestBuffers input, ref uint written)
    {
        if (input.Length < VirtioBlkRequestHeader.IdSize)
            return VirtioBlkStatus.IoError;
        written = (uint)input.CopyFrom(_id);
        return VirtioBlkStatus.Ok;
    }

    /// <summary>All ranges are copied out and checked before the first one is touched: a bad request changes nothing.</summary>
    private VirtioBlkStatus ChangeRanges(in ChainBurst burst, int place, VirtioBlkRequestType type, ref BlockTurn turn)
    {
        GuestBuffers output = burst.Readable(place).Slice(VirtioBlkRequestHeader.Size);
        if (output.Length == 0 || output.Length % VirtioBlkRange.Size != 0 || output.Length > MaxRanges * VirtioBlkRange.Size)
            return VirtioBlkStatus.IoError;
        Span<byte> bytes = stackalloc byte[MaxRanges * VirtioBlkRange.Size];
        bytes = bytes[..output.CopyTo(bytes)];
        VirtioBlkStatus status = Check(bytes, type);
        if (status != VirtioBlkStatus.Ok)
            return status;
        turn.CountChanged(BytesOf(bytes));
        if (turn.Later is { } later)
        {
            later.Change(burst[place], type, bytes);
            return Pending;
        }

        for (; VirtioBlkRange.TryRead(bytes, out VirtioBlkRange range); bytes = bytes[VirtioBlkRange.Size..])
            Change(range, type);
        if (_writeThrough)
            _storage.Flush();
        return VirtioBlkStatus.Ok;
    }

    private static ulong BytesOf(ReadOnlySpan<byte> ranges)
    {
        ulong sum = 0;
        for (; VirtioBlkRange.TryRead(ranges, out VirtioBlkRange range); ranges = ranges[VirtioBlkRange.Size..])
            sum += SectorMath.ToBytes(range.SectorCount);
        return sum;
    }

    private VirtioBlkStatus Check(ReadOnlySpan<byte> ranges, VirtioBlkRequestType type)
    {
        bool zeroes = type == VirtioBlkRequestType.WriteZeroes;
        VirtioBlkRangeFlags allowed = zeroes ? VirtioBlkRangeFlags.Unmap : VirtioBlkRangeFlags.None;
        uint most = zeroes ? MaxZeroesSectors : MaxRangeSectors;
        uint zeroed = 0;
        for (; VirtioBlkRange.TryRead(ranges, out VirtioBlkRange range); ranges = ranges[VirtioBlkRange.Size..])
        {
            if ((range.Flags & ~allowed) != 0)
                return VirtioBlkStatus.Unsupported;
            if (range.SectorCount > most - zeroed || !IsInside(range.Sector, SectorMath.ToBytes(range.SectorCount)))
                return VirtioBlkStatus.IoError;
            if (zeroes)
                zeroed += range.SectorCount;
        }

        return VirtioBlkStatus.Ok;
    }

    private void Change(in VirtioBlkRange range, VirtioBlkRequestType type)
    {
        ulong offset = SectorMath.ToBytes(range.Sector);
        ulong length = SectorMath.ToBytes(range.SectorCount);
        if (type == VirtioBlkRequestType.Discard)
            _storage.Discard(offset, length);
        else
            _storage.WriteZeroes(offset, length, (range.Flags & VirtioBlkRangeFlags.Unmap) != 0);
    }

    /// <summary>Whether a range is whole blocks inside the disk. The sector is compared before it is shifted, so nothing can wrap.</summary>
    private bool IsInside(ulong sector, ulong length)
    {
        ulong capacity = Volatile.Read(ref _capacity);
        return sector <= capacity
            && length >> SectorMath.SectorShift <= capacity - sector
            && (((sector << SectorMath.SectorShift) | length) & _blockMask) == 0;
    }
}
