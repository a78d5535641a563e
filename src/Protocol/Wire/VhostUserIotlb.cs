namespace Vhost.Protocol;

/// <summary>What an IOTLB message says (vhost-user "An IOTLB message").</summary>
public enum VhostUserIotlbType : byte
{
    /// <summary>The back-end misses a translation.</summary>
    Miss = 1,

    /// <summary>The front-end adds a translation.</summary>
    Update = 2,

    /// <summary>The front-end withdraws translations.</summary>
    Invalidate = 3,

    /// <summary>The back-end was refused an access.</summary>
    AccessFail = 4,
}

/// <summary>What may be done through a translation.</summary>
[Flags]
public enum VhostUserIotlbPermission : byte
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Reading.</summary>
    ReadOnly = 1,

    /// <summary>Writing.</summary>
    WriteOnly = 2,

    /// <summary>Both.</summary>
    ReadWrite = 3,
}

/// <summary>An IOTLB message in either direction (vhost-user "An IOTLB message"). Written with its six bytes of padding; 26 bytes, without it, are read too.</summary>
/// <param name="Address">I/O virtual address, at 0.</param>
/// <param name="Size">Bytes, at 8.</param>
/// <param name="UserAddress">Where the range lies in the front-end, at 16; a guest address when GPA_ADDRESSES is negotiated.</param>
/// <param name="Permission">What may be done, at 24.</param>
/// <param name="Type">What the message says, at 25.</param>
public readonly record struct VhostUserIotlb(
    IoVirtualAddress Address, ulong Size, UserAddress UserAddress, VhostUserIotlbPermission Permission, VhostUserIotlbType Type)
    : IVhostUserPayload<VhostUserIotlb>
{
    /// <summary>Bytes of an encoded message, padding included.</summary>
    public const int WireSize = 32;

    /// <summary>Bytes up to the last field: the form without padding.</summary>
    public const int SignificantSize = 26;

    /// <inheritdoc/>
    public int EncodedSize => WireSize;

    /// <inheritdoc/>
    public static bool TryRead(ReadOnlySpan<byte> payload, out VhostUserIotlb value)
    {
        bool fits = payload.Length is SignificantSize or WireSize;
        value = fits ? Read(payload) : default;
        return fits;
    }

    /// <inheritdoc/>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, WireSize);
        HostOrder.Put(destination, 0, Address.Value);
        HostOrder.Put(destination, 8, Size);
        HostOrder.Put(destination, 16, UserAddress.Value);
        destination[24] = (byte)Permission;
        destination[25] = (byte)Type;
    }

    private static VhostUserIotlb Read(ReadOnlySpan<byte> source) => new(
        new(HostOrder.U64(source, 0)),
        HostOrder.U64(source, 8),
        new(HostOrder.U64(source, 16)),
        (VhostUserIotlbPermission)source[24],
        (VhostUserIotlbType)source[25]);
}
