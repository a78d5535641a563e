using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>A message of the peer. Its owner disposes it, and with it the descriptors that came along.</summary>
internal sealed class ReceivedMessage(VhostUserHeader header, byte[] payload, SafeFileHandle[] descriptors) : IDisposable
{
    public VhostUserHeader Header => header;

    public byte[] Payload => payload;

    public IReadOnlyList<SafeFileHandle> Descriptors => descriptors;

    public string Name => MessageContracts.NameOf(VhostUserChannel.Main, header.Request);

    public ulong U64 => payload.Length == VhostUserU64.Size
        ? BitConverter.ToUInt64(payload)
        : throw Expect.Failed($"a reply to {Name} of 8 bytes", $"{payload.Length} bytes");

    public VhostUserVringState VringState => VhostUserVringState.TryRead(payload, out VhostUserVringState state)
        ? state
        : throw Expect.Failed($"a reply to {Name} of 8 bytes", $"{payload.Length} bytes");

    public void Dispose()
    {
        foreach (SafeFileHandle descriptor in descriptors)
            descriptor.Dispose();
    }
}
