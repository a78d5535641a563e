using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>How the back-end that a case plays differs from an honest one.</summary>
internal sealed class BackendScript
{
    private const int ConfigSize = 256;
    private const int BlockCapacity = 131_072;
    private const uint SectorSize = 512;
    private const ulong UsualSlots = 32;

    public BackendScript(string device)
    {
        Features = VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures | VirtioFeatures.IndirectDescriptors;
        Protocol = VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.ConfigureMemSlots
            | (device == "blk" ? VhostUserProtocolFeatures.Config : VhostUserProtocolFeatures.None);
        Queues = device == "net" ? 2UL : 1UL;
        BitConverter.TryWriteBytes(Config, (ulong)BlockCapacity);
        if (device == "blk")
            BitConverter.TryWriteBytes(Config.AsSpan(34), (ushort)1); // num_queues
    }

    /// <summary>The most that one request may have written: the whole disk, and the status behind it.</summary>
    public static uint MostWritten => (BlockCapacity * SectorSize) + 1;

    public VirtioFeatures Features { get; set; }

    public VhostUserProtocolFeatures Protocol { get; set; }

    public ulong Queues { get; set; }

    public ulong Slots { get; set; } = UsualSlots;

    public byte[] Config { get; } = new byte[ConfigSize];

    /// <summary>Whether requests in rings are served; otherwise the case does something with them itself.</summary>
    public bool ServesRings { get; set; } = true;

    /// <summary>Does something else than an honest back-end about a message. True: nothing is left to be done about it.</summary>
    public Func<FrontendPeer, ReceivedMessage, Task<bool>>? Instead { get; set; }

    /// <summary>Whether it offers a feature that another script does not.</summary>
    public bool OffersMoreThan(BackendScript other) => (Features & ~other.Features) != 0 || (Protocol & ~other.Protocol) != 0;

    /// <summary>Does something else about one kind of message.</summary>
    public void On(VhostUserRequest request, Func<FrontendPeer, ReceivedMessage, Task> act) => Instead = async (peer, message) =>
    {
        if (message.Header.Request != (uint)request)
            return false;
        await act(peer, message).ConfigureAwait(false);
        return true;
    };
}
