using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What the kernel does for a request at present.</summary>
internal enum BlockStep
{
    Read,
    Write,
    Sync,
    Discard,
    WriteZeroes,
}

/// <summary>One request that the kernel works on. Used again and again for the place it stands at.</summary>
internal sealed class BlockRequest(int place)
{
    private VirtioBlkRange[]? _ranges;
    private int _rangeCount;
    private int _nextRange;
    private GuestBuffers.Mark _mark;

    /// <summary>Its place in the ring of the kernel.</summary>
    public int Place { get; } = place;

    /// <summary>The driver's chain; null while the place is free.</summary>
    public DetachedChain? Chain { get; set; }

    public BlockStep Step { get; set; }

    /// <summary>Where on the disk the data begins.</summary>
    public ulong Offset { get; private set; }

    /// <summary>Bytes of data; what has been moved of them is <see cref="Done"/>.</summary>
    public uint Length { get; private set; }

    public uint Done { get; set; }

    /// <summary>Times that the kernel took back what it had begun, in a row.</summary>
    public int Attempts { get; set; }

    /// <summary>The kernel cannot move the data from and to the guest's memory: it goes through a buffer of ours.</summary>
    public bool Bounces { get; set; }

    /// <summary>The data is durable when the step has ended.</summary>
    public bool IsDurable { get; set; }

    /// <summary>Begins a transfer.</summary>
    public void BeginData(ulong offset, uint length, uint done)
    {
        Offset = offset;
        Length = length;
        Done = done;
        _mark = default;
    }

    /// <summary>What is left of the data, in guest memory. The kernel takes some pieces at a time, so this is asked for again and again.</summary>
    public GuestBuffers Remaining()
    {
        if (Step == BlockStep.Read && Done == 0)
            return Chain!.WritableStart(Length);
        GuestBuffers rest = Step == BlockStep.Read
            ? Chain!.Writable.From(Done, ref _mark)
            : Chain!.Readable.From(VirtioBlkRequestHeader.Size + Done, ref _mark);
        return rest.Slice(0, Length - Done);
    }

    /// <summary>The range of the step.</summary>
    public VirtioBlkRange Range => _ranges![_nextRange];

    /// <summary>Takes a copy of the ranges of a request.</summary>
    public void SetRanges(ReadOnlySpan<byte> bytes)
    {
        _ranges ??= new VirtioBlkRange[BlockDevice.MaxRanges];
        _nextRange = 0;
        for (_rangeCount = 0; VirtioBlkRange.TryRead(bytes, out VirtioBlkRange range); bytes = bytes[VirtioBlkRange.Size..])
            _ranges[_rangeCount++] = range;
    }

    /// <summary>Goes on to the next range. False when there is none.</summary>
    public bool NextRange() => ++_nextRange < _rangeCount;
}
