using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary>A part of a disk, checked against it before anything is transferred.</summary>
internal readonly record struct BlockRange(ulong Offset, ulong Length)
{
    /// <summary>Bytes moved at a time: enough to keep the device busy, little enough to show progress.</summary>
    internal const int ChunkSize = 1 << 20;

    /// <summary>The range, or up to the end of the disk when no length is given.</summary>
    /// <exception cref="ToolException">It is not whole blocks, or not inside the disk.</exception>
    internal static BlockRange Check(BlockClient disk, ulong offset, ulong? length)
    {
        ulong capacity = disk.CapacityBytes;
        if (offset > capacity || (length ?? 0) > capacity - offset)
            throw new ToolException(FormattableString.Invariant($"{length ?? 0} bytes at offset {offset} pass the end of the disk, which has {capacity} bytes."));
        ulong wanted = length ?? (capacity - offset);
        if (offset % disk.BlockSize != 0 || wanted % disk.BlockSize != 0)
            throw new ToolException(FormattableString.Invariant($"{wanted} bytes at offset {offset}: both must be multiples of the disk's block size, {disk.BlockSize}."));
        return new BlockRange(offset, wanted);
    }

    internal int ChunkAt(ulong done) => (int)Math.Min(ChunkSize, Length - done);
}
