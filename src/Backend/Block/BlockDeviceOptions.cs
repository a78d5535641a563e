using System.Text;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The shape of a <see cref="BlockDevice"/>. The defaults serve any driver.</summary>
public sealed record BlockDeviceOptions
{
    internal const int LargestBlock = 32768;

    /// <summary>Request queues, 1 to 256.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Largest queue size, a power of two from 4 to 32768.</summary>
    public ushort MaxQueueSize { get; init; } = 1024;

    /// <summary>Logical block in bytes, a power of two from 512 to 32768: requests must be multiples of it. Announced as BLK_SIZE.</summary>
    public int LogicalBlockSize { get; init; } = 512;

    /// <summary>Refuses everything that changes the disk. Also set when the storage cannot be written.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>The name that GET_ID answers: at most 20 bytes of ASCII.</summary>
    public string Serial { get; init; } = "vhost-user-blk";

    /// <summary>Whether the write cache is on at first: completed writes are durable after a flush. Off: every write is made durable.</summary>
    public bool WriteCache { get; init; } = true;

    /// <summary>Most data segments of a request (SEG_MAX). 126 suits the ring of 128 entries that most drivers use.</summary>
    public int MaxSegments { get; init; } = 126;

    /// <summary>Largest data segment in bytes (SIZE_MAX).</summary>
    public int MaxSegmentSize { get; init; } = 1 << 20;

    internal void Validate()
    {
        OptionCheck.Require(Queues is >= 1 and <= 256, "Queues", Queues, "1 to 256");
        OptionCheck.Require(MaxQueueSize is >= 4 and <= 32768 && int.IsPow2(MaxQueueSize), "MaxQueueSize", MaxQueueSize, "a power of two from 4 to 32768");
        OptionCheck.Require(LogicalBlockSize is >= 512 and <= LargestBlock && int.IsPow2(LogicalBlockSize), "LogicalBlockSize", LogicalBlockSize, "a power of two from 512 to 32768");
        OptionCheck.Require(MaxSegments is >= 1 and <= 32766, "MaxSegments", MaxSegments, "1 to 32766");
        OptionCheck.Require(MaxSegmentSize >= LogicalBlockSize, "MaxSegmentSize", MaxSegmentSize, "at least LogicalBlockSize");
        if (Serial is null || Serial.Length > VirtioBlkRequestHeader.IdSize || !Ascii.IsValid(Serial))
            throw new ArgumentException($"Serial \"{Serial}\": must be at most {VirtioBlkRequestHeader.IdSize} ASCII characters.");
    }
}
