using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The shape of a <see cref="DriverVirtqueue"/>.</summary>
public sealed record DriverVirtqueueOptions
{
    /// <summary>Entries in the ring, 1 to 32768; a power of two unless RING_PACKED is acknowledged.</summary>
    public ushort Size { get; init; } = 256;

    /// <summary>
    /// Requests of 2 up to this many buffers go through an indirect table and take one entry of the ring. 0, the default, uses none.
    /// Needs VIRTIO_F_INDIRECT_DESC; at most <see cref="Size"/>.
    /// </summary>
    public int IndirectBuffers { get; init; }

    /// <summary>Of a split ring without IN_ORDER only as many descriptors are touched as are ever in flight, for requests that are the same again and again.</summary>
    internal bool SparesDescriptors { get; init; }

    /// <summary>Room is left in the cache lines of a split ring's two indices, for what always travels with them: <see cref="DriverRingPlace"/>.</summary>
    internal bool SharesLines { get; init; }

    internal void Validate(VirtioFeatures features)
    {
        bool packed = (features & VirtioFeatures.RingPacked) != 0;
        if (packed ? !PackedRingLayout.IsValidSize(Size) : !SplitRingLayout.IsValidSize(Size))
        {
            string allowed = packed ? "1 to 32768" : "a power of two from 1 to 32768";
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"Ring size {Size}: must be {allowed}."));
        }

        if (IndirectBuffers < 0 || IndirectBuffers > Size)
        {
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"IndirectBuffers {IndirectBuffers}: must be 0 to the ring size {Size}."));
        }

        if (IndirectBuffers > 0 && (features & VirtioFeatures.IndirectDescriptors) == 0)
        {
            throw new ArgumentException("IndirectBuffers needs VIRTIO_F_INDIRECT_DESC, which is not acknowledged.");
        }
    }
}
