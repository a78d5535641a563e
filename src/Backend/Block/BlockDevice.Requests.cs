using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The requests themselves: header read once, checked, carried out, answered.</summary>
public sealed partial class BlockDevice
{
    /// <summary>Requests of one turn: a driver that never stops must not keep the worker from its commands.</summary>
    private const int MostPerTurn = 256;

    // One request may name four gigabytes, the same page again and again, or a range to be zeroed: a turn must end before the session's patience does.
    private const ulong MostBytesPerTurn = 64 << 20;

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
        ref BlockRequestCounters counters = ref _counters[queue.Index];
        BlockRequests? requests = RequestsOf(queue);
        requests?.Advance();
        int taken = 0;
        ulong bytes = 0;
        ulong changed = counters.Changed;
        while (taken < MostPerTurn && bytes + (counters.Changed - changed) < MostBytesPerTurn && queue.TryPop(out DescriptorChain chain))
        {
            bytes += (ulong)chain.Readable.Length + chain.Writable.Length;
            if (TryServe(chain, requests, ref counters, out uint used))
                queue.Complete(chain, used);
            if ((++taken & _batchMask) == 0)
                queue.Flush();
            if (requests is not null && (taken & (HandOverAfter - 1)) == 0)
                requests.HandOver();
        }

        requests?.HandOver();
    }

    /// <summary>What the kernel does for a queue; null where every request is carried out at once.</summary>
    private BlockRequests? RequestsOf(DeviceVirtqueue queue)
    {
        if (queue.Work is BlockRequests there)
            return there;
        if (_file is not { IsAsynchronous: true })
            return null;
        BlockRequests? requests = BlockRequests.TryOpen(this, _file, queue);
        queue.Work = requests;
        return requests;
    }

    /// <summary>Carries one request out, or begins to.</summary>
    /// <param name="chain">The request.</param>
    /// <param name="requests">Where it can be left; null when it must be carried out at once.</param>
    /// <param name="counters">The queue's.</param>
    /// <param name="used">The used length: data written and the status byte; 0 when there is nowhere to put a status.</param>
    /// <returns>Whether it is done.</returns>
    private bool TryServe(in DescriptorChain chain, BlockRequests? requests, ref BlockRequestCounters counters, out uint used)
    {
        GuestBuffers writable = chain.Writable;
        used = 0;
        if (writable.Length == 0 || !chain.Readable.TryRead(out VirtioBlkRequestHeader header))
        {
            counters.Served++;
            counters.Dropped++;
            return true;
        }

        uint written = 0;
        VirtioBlkStatus status;
        try
        {
            status = Execute(chain, header, requests, ref counters, ref written);
        }
        catch (Exception e)
        {
            LastStorageError = e;
            status = VirtioBlkStatus.IoError;
        }

        if (status == Pending)
            return false;
        used = Answer(ref counters, writable, status, written);
        return true;
    }

    /// <summary>Counts a request and writes its status.</summary>
    /// <returns>The used length.</returns>
    private static uint Answer(ref BlockRequestCounters counters, GuestBuffers writable, VirtioBlkStatus status, uint written)
    {
        counters.Served++;
        if (status != VirtioBlkStatus.Ok)
        {
            counters.Failed++;
            written = 0;
        }

        writable.Slice(writable.Length - 1, 1).TryWrite((byte)status);
        return written + 1;
    }

    private VirtioBlkStatus Execute(
        in DescriptorChain chain, in VirtioBlkRequestHeader header, BlockRequests? requests, ref BlockRequestCounters counters, ref uint written)
    {
        switch (header.Type)
        {
            case VirtioBlkRequestType.In:
                GuestBuffers input = chain.Writable.Slice(0, chain.Writable.Length - 1);
                written = input.Length;
                return Read(chain, header.Sector, input, requests);

            case VirtioBlkRequestType.Out:
                return Write(chain, header.Sector, chain.Readable.Slice(VirtioBlkRequestHeader.Size), requests);

            case VirtioBlkRequestType.Flush:
                return Flush(chain, requests);

            case VirtioBlkRequestType.GetId:
                return GetId(chain.Writable.Slice(0, chain.Writable.Length - 1), ref written);

            case VirtioBlkRequestType.Discard or VirtioBlkRequestType.WriteZeroes when (BlockFeatures & VirtioBlkFeatures.Discard) != 0:
                return ChangeRanges(chain, header.Type, requests, ref counters);

            default:
                return VirtioBlkStatus.Unsupported;
        }
    }

    private VirtioBlkStatus Read(in DescriptorChain chain, ulong sector, GuestBuffers input, BlockRequests? requests)
    {
        if (!IsInside(sector, input.Length))
            return VirtioBlkStatus.IoError;
        if (requests is not null)
            return requests.TryRead(chain, SectorMath.ToBytes(sector), input) ? VirtioBlkStatus.Ok : Pending;
        _storage.Read(SectorMath.ToBytes(sector), input);
        return VirtioBlkStatus.Ok;
    }

    private VirtioBlkStatus Write(in DescriptorChain chain, ulong sector, GuestBuffers output, BlockRequests? requests)
    {
        if (_readOnly || !IsInside(sector, output.Length))
            return VirtioBlkStatus.IoError;
        if (requests is not null)
            return requests.TryWrite(chain, SectorMath.ToBytes(sector), output, _writeThrough) ? VirtioBlkStatus.Ok : Pending;
        _storage.Write(SectorMath.ToBytes(sector), output);
        if (_writeThrough)
            _storage.Flush();
        return VirtioBlkStatus.Ok;
    }

    private VirtioBlkStatus Flush(in DescriptorChain chain, BlockRequests? requests)
    {
        if (requests is not null)
        {
            requests.Flush(chain);
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
    private VirtioBlkStatus ChangeRanges(in DescriptorChain chain, VirtioBlkRequestType type, BlockRequests? requests, ref BlockRequestCounters counters)
    {
        GuestBuffers output = chain.Readable.Slice(VirtioBlkRequestHeader.Size);
        if (output.Length == 0 || output.Length % VirtioBlkRange.Size != 0 || output.Length > MaxRanges * VirtioBlkRange.Size)
            return VirtioBlkStatus.IoError;
        Span<byte> bytes = stackalloc byte[MaxRanges * VirtioBlkRange.Size];
        bytes = bytes[..output.CopyTo(bytes)];
        VirtioBlkStatus status = Check(bytes, type);
        if (status != VirtioBlkStatus.Ok)
            return status;
        counters.Changed += BytesOf(bytes);
        if (requests is not null)
        {
            requests.Change(chain, type, bytes);
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
