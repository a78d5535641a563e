using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>Whether a message is what it was when it was recorded. What depends on guest memory, which a recording does not have, or on where a process has it, may differ.</summary>
internal static class ReplayComparison
{
    private const int RingIndexSize = sizeof(uint);

    internal static bool IsSame(ProxyMessage recorded, in VhostUserHeader header, ReadOnlySpan<byte> payload, int descriptors)
    {
        VhostUserHeaderFlags compared = VhostUserHeaderFlags.Reply | VhostUserHeaderFlags.NeedReply;
        return header.Request == recorded.Header.Request
            && (header.Flags & compared) == (recorded.Header.Flags & compared)
            && payload.Length == recorded.Payload.Length
            && descriptors == recorded.Descriptors.Count
            && Compared(recorded, payload).SequenceEqual(Compared(recorded, recorded.Payload.Span));
    }

    private static ReadOnlySpan<byte> Compared(ProxyMessage recorded, ReadOnlySpan<byte> payload)
    {
        bool isReply = recorded.Header.IsReply;
        return recorded.Channel != VhostUserChannel.Main ? payload : (VhostUserRequest)recorded.Header.Request switch
        {
            VhostUserRequest.GetVringBase or VhostUserRequest.GetVringBaseSkipDrain when isReply => payload[..Math.Min(RingIndexSize, payload.Length)],
            VhostUserRequest.SetVringBase when !isReply => payload[..Math.Min(RingIndexSize, payload.Length)],
            VhostUserRequest.SetMemTable or VhostUserRequest.AddMemReg or VhostUserRequest.RemMemReg or VhostUserRequest.SetVringAddr or VhostUserRequest.SetLogBase or VhostUserRequest.IotlbMsg
                when !isReply || payload.Length > VhostUserU64.Size => [],
            _ => payload,
        };
    }
}
