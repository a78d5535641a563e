using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>What a device's configuration space means for requests; the device's numbers, checked once.</summary>
internal sealed class BlockGeometry
{
    private const uint SectorSize = VirtioBlkRequestHeader.SectorSize;
    private const ulong MaxCapacity = 1UL << (63 - 9);

    private BlockGeometry(VirtioBlkConfig config, uint blockSize)
    {
        Config = config;
        BlockSize = blockSize;
        CapacityBytes = config.Capacity * SectorSize;
    }

    internal VirtioBlkConfig Config { get; }

    internal uint BlockSize { get; }

    internal ulong CapacityBytes { get; }

    /// <summary>Most data of one read or write.</summary>
    internal uint MaxTransfer { get; private init; }

    /// <summary>Most bytes of one discard; 0 when the device has none.</summary>
    internal ulong MaxDiscard { get; private init; }

    /// <summary>Most bytes of one request to write zeroes; 0 when the device has none.</summary>
    internal ulong MaxWriteZeroes { get; private init; }

    /// <exception cref="VhostUserProtocolException">A number of the device cannot be.</exception>
    internal static BlockGeometry From(in VirtioBlkConfig config, VirtioBlkFeatures features, int bufferSize)
    {
        uint blockSize = (features & VirtioBlkFeatures.BlockSize) != 0 ? config.BlockSize : SectorSize;
        if (blockSize < SectorSize || blockSize > 1 << 20 || !uint.IsPow2(blockSize))
            throw Bad("blk_size", blockSize, "a power of two from 512 to 1 MiB");
        if (config.Capacity > MaxCapacity)
            throw Bad("capacity", config.Capacity, "below 2^54 sectors");
        uint transfer = (uint)bufferSize;
        if ((features & VirtioBlkFeatures.SizeMax) != 0 && config.SizeMax != 0)
            transfer = Math.Min(transfer, config.SizeMax);
        if (transfer < blockSize)
            throw Bad("size_max", transfer, string.Create(CultureInfo.InvariantCulture, $"at least the block size {blockSize}, as must be the client's buffer"));
        return new BlockGeometry(config, blockSize)
        {
            MaxTransfer = transfer & ~(blockSize - 1),
            MaxDiscard = (features & VirtioBlkFeatures.Discard) != 0 ? RangeBytes(config.MaxDiscardSectors, Math.Max(config.DiscardSectorAlignment, blockSize / SectorSize)) : 0,
            MaxWriteZeroes = (features & VirtioBlkFeatures.WriteZeroes) != 0 ? RangeBytes(config.MaxWriteZeroesSectors, blockSize / SectorSize) : 0,
        };
    }

    /// <exception cref="ArgumentException">The range is not whole blocks inside the disk.</exception>
    internal void RequireInside(ulong offset, ulong length)
    {
        if (((offset | length) & (BlockSize - 1)) != 0)
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"{length} bytes at offset {offset}: both must be multiples of the block size {BlockSize}."));
        if (offset > CapacityBytes || length > CapacityBytes - offset)
            throw new ArgumentOutOfRangeException(nameof(offset), offset, string.Create(CultureInfo.InvariantCulture, $"{length} bytes there pass the end of the disk of {CapacityBytes} bytes."));
    }

    private static ulong RangeBytes(uint maxSectors, uint alignment)
    {
        uint sectors = maxSectors < alignment ? maxSectors : maxSectors / alignment * alignment;
        return (ulong)sectors * SectorSize;
    }

    private static VhostUserProtocolException Bad(string field, ulong value, string allowed) => new(
        VhostUserViolation.BadValue,
        string.Create(CultureInfo.InvariantCulture, $"Configuration space of the block device: {field} {value}, must be {allowed}."));
}
