using System.Buffers.Binary;

namespace Vhost.Protocol;

/// <summary>One scanout of a display configuration (virtio_gpu_display_one); 24 bytes, little-endian.</summary>
/// <param name="X">Left column, at 0.</param>
/// <param name="Y">Top row, at 4.</param>
/// <param name="Width">Pixels across, at 8.</param>
/// <param name="Height">Pixels down, at 12.</param>
/// <param name="Enabled">Not 0: the scanout is on, at 16.</param>
/// <param name="Flags">Reserved, at 20.</param>
public readonly record struct VhostUserGpuDisplay(uint X, uint Y, uint Width, uint Height, uint Enabled, uint Flags);

/// <summary>
/// A view of the reply to GET_DISPLAY_INFO (virtio_gpu_resp_display_info): a control header of 24 bytes, then sixteen scanouts of 24 bytes.
/// Little-endian, as virtio-gpu is. The view reads the payload it was made from.
/// </summary>
public readonly ref struct VhostUserGpuDisplayInfo
{
    /// <summary>Size in bytes.</summary>
    public const int Size = ControlHeaderSize + MaxScanouts * ScanoutSize;

    /// <summary>Scanouts in the reply.</summary>
    public const int MaxScanouts = 16;

    /// <summary>VIRTIO_GPU_RESP_OK_DISPLAY_INFO, the type in the control header.</summary>
    public const uint OkType = 0x1101;

    internal const int ControlHeaderSize = 24;
    private const int ScanoutSize = 24;

    private readonly ReadOnlySpan<byte> _payload;

    private VhostUserGpuDisplayInfo(ReadOnlySpan<byte> payload) => _payload = payload;

    /// <summary>The type in the control header; <see cref="OkType"/> on success.</summary>
    public uint Type => BinaryPrimitives.ReadUInt32LittleEndian(_payload);

    /// <summary>A scanout.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There are sixteen.</exception>
    public VhostUserGpuDisplay this[int index]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(index);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, MaxScanouts);
            ReadOnlySpan<byte> one = _payload.Slice(ControlHeaderSize + index * ScanoutSize, ScanoutSize);
            return new(U32(one, 0), U32(one, 4), U32(one, 8), U32(one, 12), U32(one, 16), U32(one, 20));
        }
    }

    /// <summary>Views a payload.</summary>
    /// <returns>False when its size is not <see cref="Size"/>.</returns>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserGpuDisplayInfo info)
    {
        bool fits = payload.Length == Size;
        info = fits ? new(payload) : default;
        return fits;
    }

    /// <summary>Writes a display configuration; scanouts that are missing are off.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">Too many scanouts, or the destination is too small.</exception>
    public static int Write(ReadOnlySpan<VhostUserGpuDisplay> displays, Span<byte> destination)
    {
        if (displays.Length > MaxScanouts)
            throw new ArgumentException("There are at most 16 scanouts.", nameof(displays));
        destination = PayloadSizes.Exactly(destination, Size);
        BinaryPrimitives.WriteUInt32LittleEndian(destination, OkType);
        for (int i = 0; i < displays.Length; i++)
            Write(displays[i], destination.Slice(ControlHeaderSize + i * ScanoutSize, ScanoutSize));
        return Size;
    }

    private static void Write(in VhostUserGpuDisplay display, Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, display.X);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], display.Y);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[8..], display.Width);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[12..], display.Height);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[16..], display.Enabled);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[20..], display.Flags);
    }

    private static uint U32(ReadOnlySpan<byte> source, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(source[offset..]);
}
