using System.Buffers.Binary;

namespace Vhost.Protocol;

/// <summary>
/// A view of the reply to GET_EDID (virtio_gpu_resp_edid): a control header of 24 bytes, the size at 24, padding at 28, 1024 bytes from 32.
/// Little-endian, as virtio-gpu is. The view reads the payload it was made from.
/// </summary>
public readonly ref struct VhostUserGpuEdid
{
    /// <summary>Size in bytes.</summary>
    public const int Size = DataOffset + MaxData;

    /// <summary>Bytes reserved for the EDID.</summary>
    public const int MaxData = 1024;

    /// <summary>VIRTIO_GPU_RESP_OK_EDID, the type in the control header.</summary>
    public const uint OkType = 0x1104;

    private const int DataOffset = 32;

    private VhostUserGpuEdid(uint type, ReadOnlySpan<byte> data)
    {
        Type = type;
        Data = data;
    }

    /// <summary>The type in the control header; <see cref="OkType"/> on success.</summary>
    public uint Type { get; }

    /// <summary>The EDID.</summary>
    public ReadOnlySpan<byte> Data { get; }

    /// <summary>Views a payload.</summary>
    /// <returns>False when its size is not <see cref="Size"/>, or it names more bytes than are reserved.</returns>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserGpuEdid edid)
    {
        edid = default;
        if (payload.Length != Size)
            return false;
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(payload[VhostUserGpuDisplayInfo.ControlHeaderSize..]);
        if (length > MaxData)
            return false;
        edid = new(BinaryPrimitives.ReadUInt32LittleEndian(payload), payload.Slice(DataOffset, (int)length));
        return true;
    }

    /// <summary>Writes an EDID.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">The EDID is too long, or the destination is too small.</exception>
    public static int Write(ReadOnlySpan<byte> data, Span<byte> destination)
    {
        if (data.Length > MaxData)
            throw new ArgumentException("An EDID has at most 1024 bytes.", nameof(data));
        destination = PayloadSizes.Exactly(destination, Size);
        BinaryPrimitives.WriteUInt32LittleEndian(destination, OkType);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[VhostUserGpuDisplayInfo.ControlHeaderSize..], (uint)data.Length);
        data.CopyTo(destination[DataOffset..]);
        return Size;
    }
}
