using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>A descriptor that came with a message.</summary>
/// <param name="IsEvent">Whether it is an eventfd.</param>
/// <param name="Size">Bytes of the file behind it.</param>
internal readonly record struct SaidDescriptor(bool IsEvent, ulong Size);

/// <summary>A message of a front-end, kept for judgement.</summary>
/// <param name="Header">Its header, as it came.</param>
/// <param name="Payload">Its payload.</param>
/// <param name="Descriptors">What came with it.</param>
/// <param name="State">What was negotiated when it came.</param>
internal sealed record SaidMessage(VhostUserHeader Header, byte[] Payload, SaidDescriptor[] Descriptors, NegotiatedState State)
{
    private const uint DescriptorWordRing = 0xff;

    public VhostUserRequest Request => (VhostUserRequest)Header.Request;

    public string Name => MessageContracts.NameOf(VhostUserChannel.Main, Header.Request);

    public ulong U64 => Payload.Length == VhostUserU64.Size ? BitConverter.ToUInt64(Payload) : throw Expect.Failed($"{Name} of 8 bytes", $"{Payload.Length} bytes");

    /// <summary>The second word of a message about a ring.</summary>
    public uint Num => Payload.Length == VhostUserVringState.Size ? BitConverter.ToUInt32(Payload, sizeof(uint)) : throw Expect.Failed($"{Name} of 8 bytes", $"{Payload.Length} bytes");

    /// <summary>Which ring a message about a ring names; of others nonsense.</summary>
    public uint Ring => Payload.Length < sizeof(uint) ? uint.MaxValue : BitConverter.ToUInt32(Payload) & (IsDescriptorWord ? DescriptorWordRing : uint.MaxValue);

    /// <summary>Whether it is about one ring.</summary>
    public bool IsOfRing => IsDescriptorWord || Request is VhostUserRequest.SetVringNum or VhostUserRequest.SetVringAddr or VhostUserRequest.SetVringBase
        or VhostUserRequest.GetVringBase or VhostUserRequest.SetVringEnable;

    private bool IsDescriptorWord => Request is VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall or VhostUserRequest.SetVringErr;
}
