using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>The configuration space of a block device, field by field; a field whose feature is not offered is absent.</summary>
internal sealed record BlockConfigReport
{
    public required ulong CapacityBytes { get; init; }

    public uint? BlockSize { get; init; }

    public int? Queues { get; init; }

    public uint? SizeMax { get; init; }

    public uint? SegMax { get; init; }

    public uint? PhysicalBlockSize { get; init; }

    public uint? MinIoSize { get; init; }

    public uint? OptimalIoSize { get; init; }

    public bool? WriteCache { get; init; }

    public uint? MaxDiscardSectors { get; init; }

    public uint? MaxDiscardSegments { get; init; }

    public uint? DiscardSectorAlignment { get; init; }

    public uint? MaxWriteZeroesSectors { get; init; }

    public uint? MaxWriteZeroesSegments { get; init; }

    public required bool ReadOnly { get; init; }

    internal static BlockConfigReport From(in VirtioBlkConfig config, VirtioBlkFeatures features)
    {
        bool Has(VirtioBlkFeatures feature) => (features & feature) != 0;
        uint blockSize = Has(VirtioBlkFeatures.BlockSize) ? config.BlockSize : VirtioBlkRequestHeader.SectorSize;
        bool topology = Has(VirtioBlkFeatures.Topology);
        return new BlockConfigReport
        {
            CapacityBytes = config.Capacity > ulong.MaxValue / VirtioBlkRequestHeader.SectorSize ? ulong.MaxValue : config.Capacity * VirtioBlkRequestHeader.SectorSize,
            ReadOnly = Has(VirtioBlkFeatures.ReadOnly),
            BlockSize = Has(VirtioBlkFeatures.BlockSize) ? config.BlockSize : null,
            Queues = Has(VirtioBlkFeatures.MultiQueue) ? config.QueueCount : null,
            SizeMax = Has(VirtioBlkFeatures.SizeMax) ? config.SizeMax : null,
            SegMax = Has(VirtioBlkFeatures.SegMax) ? config.SegMax : null,
            PhysicalBlockSize = topology ? blockSize << Math.Min(config.PhysicalBlockExponent, (byte)16) : null,
            MinIoSize = topology ? config.MinIoSize * blockSize : null,
            OptimalIoSize = topology ? config.OptimalIoSize * blockSize : null,
            WriteCache = Has(VirtioBlkFeatures.ConfigWriteCache) ? config.WriteBack != 0 : null,
            MaxDiscardSectors = Has(VirtioBlkFeatures.Discard) ? config.MaxDiscardSectors : null,
            MaxDiscardSegments = Has(VirtioBlkFeatures.Discard) ? config.MaxDiscardSegments : null,
            DiscardSectorAlignment = Has(VirtioBlkFeatures.Discard) ? config.DiscardSectorAlignment : null,
            MaxWriteZeroesSectors = Has(VirtioBlkFeatures.WriteZeroes) ? config.MaxWriteZeroesSectors : null,
            MaxWriteZeroesSegments = Has(VirtioBlkFeatures.WriteZeroes) ? config.MaxWriteZeroesSegments : null,
        };
    }

    internal IEnumerable<(string Name, string Value)> Rows()
    {
        yield return ("capacity", string.Create(CultureInfo.InvariantCulture, $"{CapacityBytes} bytes ({SizeText.Of(CapacityBytes)})"));
        yield return ("access", ReadOnly ? "read-only" : "read and write");
        foreach ((string name, object? value) in new (string, object?)[]
        {
            ("block size", BlockSize),
            ("physical block size", PhysicalBlockSize),
            ("minimum I/O size", MinIoSize),
            ("optimal I/O size", OptimalIoSize),
            ("queues", Queues),
            ("largest segment", SizeMax),
            ("segments a request", SegMax),
            ("write cache", WriteCache is { } on ? (on ? "on" : "off") : null),
            ("discard, sectors", MaxDiscardSectors),
            ("discard, ranges", MaxDiscardSegments),
            ("discard, alignment", DiscardSectorAlignment),
            ("write zeroes, sectors", MaxWriteZeroesSectors),
            ("write zeroes, ranges", MaxWriteZeroesSegments),
        })
        {
            if (value is not null)
                yield return (name, Convert.ToString(value, CultureInfo.InvariantCulture)!);
        }
    }
}
