using System.Runtime.InteropServices;

namespace Vhost.Backend;

/// <summary>What one queue of a block device has done. Written by the queue's worker alone; padded, so that workers do not share a cache line.</summary>
[StructLayout(LayoutKind.Explicit, Size = 192)]
internal struct BlockRequestCounters
{
    [FieldOffset(64)]
    public long Served;

    [FieldOffset(72)]
    public long Failed;

    [FieldOffset(80)]
    public long Dropped;
}

/// <summary>Sums over all queues of a <see cref="BlockDevice"/> since it was made.</summary>
/// <param name="Served">Requests taken and given back, whatever came of them.</param>
/// <param name="Failed">Of these, the ones answered with a status other than VIRTIO_BLK_S_OK.</param>
/// <param name="Dropped">Of these, the ones without a whole header or without room for a status, given back with used length 0.</param>
public readonly record struct BlockDeviceStatistics(long Served, long Failed, long Dropped);
