namespace Vhost.Protocol;

/// <summary>Which way the device state travels (vhost-user "Device state transfer parameters").</summary>
public enum VhostUserTransferDirection : uint
{
    /// <summary>The back-end writes its state to the descriptor.</summary>
    Save = 0,

    /// <summary>The back-end reads its state from the descriptor.</summary>
    Load = 1,
}

/// <summary>When the device state travels; the specification knows one phase.</summary>
public enum VhostUserTransferPhase : uint
{
    /// <summary>The device is suspended: all rings are stopped.</summary>
    Stopped = 0,
}

/// <summary>The payload of SET_DEVICE_STATE_FD (vhost-user "Device state transfer parameters").</summary>
/// <param name="Direction">Which way.</param>
/// <param name="Phase">When.</param>
public readonly record struct VhostUserDeviceState(VhostUserTransferDirection Direction, VhostUserTransferPhase Phase)
    : IVhostUserPayload<VhostUserDeviceState>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 8;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserDeviceState value)
    {
        bool fits = payload.Length == Size;
        value = fits
            ? new((VhostUserTransferDirection)HostOrder.U32(payload, 0), (VhostUserTransferPhase)HostOrder.U32(payload, 4))
            : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, Size);
        HostOrder.Put(destination, 0, (uint)Direction);
        HostOrder.Put(destination, 4, (uint)Phase);
    }
}

/// <summary>The answer to SET_DEVICE_STATE_FD: an error in bits 0 to 7, "use the front-end's descriptor" in bit 8.</summary>
/// <param name="Raw">The word as it was on the wire.</param>
public readonly record struct VhostUserDeviceStateReply(ulong Raw) : IVhostUserPayload<VhostUserDeviceStateReply>
{
    /// <summary>Size in bytes.</summary>
    public const int Size = 8;

    /// <summary>0: success; anything else: the back-end's error.</summary>
    public byte Error => (byte)Raw;

    /// <summary>No descriptor comes with the reply: the one the front-end sent is used.</summary>
    public bool NoDescriptor => (Raw & 0x100) != 0;

    /// <inheritdoc/>
    public int EncodedSize => Size;

    /// <summary>Makes an answer.</summary>
    /// <param name="error">0: success.</param>
    /// <param name="noDescriptor">No descriptor comes with the reply.</param>
    public static VhostUserDeviceStateReply Create(byte error, bool noDescriptor) => new(error | (noDescriptor ? 0x100u : 0u));

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserDeviceStateReply value)
    {
        bool read = VhostUserU64.TryRead(payload, out VhostUserU64 word);
        value = new(word.Value);
        return read;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination) => HostOrder.Put(PayloadSizes.Exactly(destination, Size), 0, Raw);
}
