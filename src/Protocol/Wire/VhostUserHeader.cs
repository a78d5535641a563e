namespace Vhost.Protocol;

/// <summary>The flags word of a header (vhost-user "Header"). Bits 4 to 31 are reserved and zero.</summary>
[Flags]
public enum VhostUserHeaderFlags : uint
{
    /// <summary>No flag; not legal on the wire, where the version is 1.</summary>
    None = 0,

    /// <summary>Version 1 of the protocol, the only one.</summary>
    Version1 = 1,

    /// <summary>The two bits that hold the version.</summary>
    VersionMask = 3,

    /// <summary>The message answers a request.</summary>
    Reply = 1 << 2,

    /// <summary>The sender wants an acknowledgement; needs VHOST_USER_PROTOCOL_F_REPLY_ACK.</summary>
    NeedReply = 1 << 3,
}

/// <summary>The twelve bytes before every payload (vhost-user "Header"): request at 0, flags at 4, payload size at 8, in the byte order of the host.</summary>
/// <param name="Request">The request code of the channel's requester.</param>
/// <param name="Flags">Version and flags.</param>
/// <param name="PayloadSize">Payload bytes that follow the header.</param>
public readonly record struct VhostUserHeader(uint Request, VhostUserHeaderFlags Flags, uint PayloadSize)
{
    /// <summary>Size of a header in bytes.</summary>
    public const int EncodedSize = 12;

    /// <summary>
    /// The largest payload this library sends or takes on the main and back-end channels, in bytes: room for a page of configuration space
    /// (some peers' window) and its header. A header that names more is refused before anything is allocated.
    /// </summary>
    public const int MaxPayloadSize = 4096 + 12;

    /// <summary>The most descriptors one message may carry.</summary>
    public const int MaxDescriptors = 8;

    /// <summary>The message answers a request.</summary>
    public bool IsReply => (Flags & VhostUserHeaderFlags.Reply) != 0;

    /// <summary>The sender asks for an acknowledgement.</summary>
    public bool NeedsReply => (Flags & VhostUserHeaderFlags.NeedReply) != 0;

    /// <summary>A header for a request of the front-end.</summary>
    /// <param name="request">The request.</param>
    /// <param name="payloadSize">Payload bytes, not negative.</param>
    /// <param name="needReply">Asks for an acknowledgement; only once REPLY_ACK is negotiated.</param>
    public static VhostUserHeader ForRequest(VhostUserRequest request, int payloadSize, bool needReply = false) =>
        new((uint)request, RequestFlags(needReply), checked((uint)payloadSize));

    /// <summary>A header for a request of the back-end on the back-end channel.</summary>
    /// <param name="request">The request.</param>
    /// <param name="payloadSize">Payload bytes, not negative.</param>
    /// <param name="needReply">Asks for an acknowledgement; only once REPLY_ACK is negotiated.</param>
    public static VhostUserHeader ForRequest(VhostUserBackendRequest request, int payloadSize, bool needReply = false) =>
        new((uint)request, RequestFlags(needReply), checked((uint)payloadSize));

    /// <summary>A header for a request on the GPU channel, which has no version in its flags (vhost-user-gpu "Wire format").</summary>
    /// <param name="request">The request.</param>
    /// <param name="payloadSize">Payload bytes, not negative.</param>
    public static VhostUserHeader ForRequest(VhostUserGpuRequest request, int payloadSize) =>
        new((uint)request, VhostUserHeaderFlags.None, checked((uint)payloadSize));

    /// <summary>The header that answers this one: same request, flags exactly 0x5 (NEED_REPLY is never echoed; some front-ends refuse it).</summary>
    /// <param name="payloadSize">Payload bytes of the reply, not negative.</param>
    public VhostUserHeader AsReply(int payloadSize) =>
        new(Request, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, checked((uint)payloadSize));

    /// <summary>Reads a header from the first twelve bytes. Nothing is judged; see <see cref="MessageValidator.CheckHeader(in VhostUserHeader)"/>.</summary>
    /// <param name="source">Bytes of the stream.</param>
    /// <param name="value">The header; default when the method returns false.</param>
    /// <returns>False when there are fewer than twelve bytes.</returns>
    public static bool TryRead(ReadOnlySpan<byte> source, out VhostUserHeader value)
    {
        if (source.Length < EncodedSize)
        {
            value = default;
            return false;
        }

        value = new(HostOrder.U32(source, 0), (VhostUserHeaderFlags)HostOrder.U32(source, 4), HostOrder.U32(source, 8));
        return true;
    }

    /// <summary>Writes twelve bytes.</summary>
    /// <exception cref="ArgumentException">The destination is smaller than twelve bytes.</exception>
    public void Write(Span<byte> destination)
    {
        destination = PayloadSizes.Exactly(destination, EncodedSize);
        HostOrder.Put(destination, 0, Request);
        HostOrder.Put(destination, 4, (uint)Flags);
        HostOrder.Put(destination, 8, PayloadSize);
    }

    private static VhostUserHeaderFlags RequestFlags(bool needReply) =>
        needReply ? VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply : VhostUserHeaderFlags.Version1;
}
