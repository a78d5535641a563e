using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The requests themselves: header read once, checked, carried out, answered.</summary>
public sealed partial class BlockDevice
{
    /// <summary>Requests of one turn: a driver that never stops must not keep the worker from its commands.</summary>
    private const int MostPerTurn = 256;

    // One request may name four gigabytes, the same page again and again, or a range to be zeroed: a turn must end before the session's patience does.
    private const ulong MostBytesPerTurn = 64 << 20;

    /// <inheritdoc/>
    public void Process(DeviceVirtqueue queue)
    {
        ref BlockRequestCounters counters = ref _counters[queue.Index];
        int served = 0;
        ulong bytes = 0;
        ulong changed = counters.Changed;
        while (served < MostPerTurn && bytes + (counters.Changed - changed) < MostBytesPerTurn && queue.TryPop(out DescriptorChain chain))
        {
            bytes += (ulong)chain.Readable.Length + chain.Writable.Length;
            queue.Complete(chain, Serve(chain, ref counters));
            if ((++served & _batchMask) == 0)
                queue.Flush();
        }

        counters.Served += served;
    }

    /// <summary>Carries one request out.</summary>
    /// <returns>The used length: data written and the status byte; 0 when there is nowhere to put a status.</returns>
    private uint Serve(in DescriptorChain chain, ref BlockRequestCounters counters)
    {
        GuestBuffers writable = chain.Writable;
        if (writable.Length == 0 || !chain.Readable.TryRead(out VirtioBlkRequestHeader header))
        {
            counters.Dropped++;
            return 0;
        }

        uint room = writable.Length - 1;
        uint written = 0;
        VirtioBlkStatus status;
        try
        {
            status = Execute(header, chain.Readable.Slice(VirtioBlkRequestHeader.Size), writable.Slice(0, room), ref counters, ref written);
        }
        catch (Exception e)
        {
            LastStorageError = e;
            status = VirtioBlkStatus.IoError;
        }

        if (status != VirtioBlkStatus.Ok)
        {
            counters.Failed++;
            written = 0;
        }

        writable.Slice(room, 1).TryWrite((byte)status);
        return written + 1;
    }

    private VirtioBlkStatus Execute(
        in VirtioBlkRequestHeader header, GuestBuffers output, GuestBuffers input, ref BlockRequestCounters counters, ref uint written)
    {
        switch (header.Type)
        {
            case VirtioBlkRequestType.In:
                if (!IsInside(header.Sector, input.Length))
                    return VirtioBlkStatus.IoError;
                _storage.Read(header.Sector << SectorMath.SectorShift, input);
                written = input.Length;
                return VirtioBlkStatus.Ok;

            case VirtioBlkRequestType.Out:
                return Write(header.Sector, output);

            case VirtioBlkRequestType.Flush:
                _storage.Flush();
                return VirtioBlkStatus.Ok;

            case VirtioBlkRequestType.GetId:
                return GetId(input, ref written);

            case VirtioBlkRequestType.Discard or VirtioBlkRequestType.WriteZeroes when (BlockFeatures & VirtioBlkFeatures.Discard) != 0:
                return ChangeRanges(output, header.Type, ref counters);

            default:
                return VirtioBlkStatus.Unsupported;
        }
    }

    private VirtioBlkStatus Write(ulong sector, GuestBuffers output)
    {
        if (_readOnly || !IsInside(sector, output.Length))
            return VirtioBlkStatus.IoError;
        _storage.Write(sector << SectorMath.SectorShift, output);
        if (_writeThrough)
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
    private VirtioBlkStatus ChangeRanges(GuestBuffers output, VirtioBlkRequestType type, ref BlockRequestCounters counters)
    {
        if (output.Length == 0 || output.Length % VirtioBlkRange.Size != 0 || output.Length > MaxRanges * VirtioBlkRange.Size)
            return VirtioBlkStatus.IoError;
        Span<byte> bytes = stackalloc byte[MaxRanges * VirtioBlkRange.Size];
        bytes = bytes[..output.CopyTo(bytes)];
        VirtioBlkStatus status = Check(bytes, type);
        if (status != VirtioBlkStatus.Ok)
            return status;
        for (; VirtioBlkRange.TryRead(bytes, out VirtioBlkRange range); bytes = bytes[VirtioBlkRange.Size..])
        {
            counters.Changed += (ulong)range.SectorCount << SectorMath.SectorShift;
            Change(range, type);
        }

        if (_writeThrough)
            _storage.Flush();
        return VirtioBlkStatus.Ok;
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
            if (range.SectorCount > most - zeroed || !IsInside(range.Sector, (ulong)range.SectorCount << SectorMath.SectorShift))
                return VirtioBlkStatus.IoError;
            if (zeroes)
                zeroed += range.SectorCount;
        }

        return VirtioBlkStatus.Ok;
    }

    private void Change(in VirtioBlkRange range, VirtioBlkRequestType type)
    {
        ulong offset = range.Sector << SectorMath.SectorShift;
        ulong length = (ulong)range.SectorCount << SectorMath.SectorShift;
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
