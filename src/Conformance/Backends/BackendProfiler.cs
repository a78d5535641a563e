using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Asks a back-end what it is and offers.</summary>
internal static class BackendProfiler
{
    // No block device has a feature bit 15, and every network card has it.
    private const VirtioFeatures MergedBuffers = (VirtioFeatures)(1UL << 15);
    private const VirtioFeatures BlockSegments = (VirtioFeatures)(1UL << 2);
    private const VirtioFeatures BlockSize = (VirtioFeatures)(1UL << 6);

    public static async Task<BackendProfile> AskAsync(BackendSuiteOptions options)
    {
        Dialogue dialogue = new();
        BackendProfile unknown = new(DeviceModel.All[^1], VirtioFeatures.None, VhostUserProtocolFeatures.None, 0, "");
        BackendPeer peer = await BackendPeer.ConnectAsync(options.SocketPath, unknown, CaseNeeds.Nothing, dialogue, new(options.Timeout)).ConfigureAwait(false);
        await using (peer.ConfigureAwait(false))
        {
            try
            {
                return await AskAsync(peer, options.Device).ConfigureAwait(false);
            }
            catch (CaseEndedException failure)
            {
                throw new VhostUserException($"{options.SocketPath}: the back-end does not answer the first questions of a front-end: expected {failure.Expected}, {failure.Came}.", failure);
            }
        }
    }

    private static async Task<BackendProfile> AskAsync(BackendPeer peer, string device)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        NegotiatedState state = peer.State;
        ulong queues = (state.Protocol & VhostUserProtocolFeatures.MultiQueue) != 0
            ? await peer.AskU64Async(VhostUserRequest.GetQueueNum).ConfigureAwait(false)
            : 0;
        DeviceModel model = DeviceModel.ByName(device) ?? Guess(state);
        return new(model, state.Offered, state.OfferedProtocol, (int)Math.Min(queues, 256), PeerProgram.NameOf(peer.Main.Connection.PeerProcessId));
    }

    private static DeviceModel Guess(NegotiatedState state)
    {
        bool net = (state.Offered & MergedBuffers) != 0 || (state.OfferedProtocol & (VhostUserProtocolFeatures.Rarp | VhostUserProtocolFeatures.NetMtu)) != 0;
        bool block = (state.OfferedProtocol & VhostUserProtocolFeatures.Config) != 0 && (state.Offered & (BlockSegments | BlockSize)) != 0;
        return DeviceModel.ByName(net ? "net" : block ? "blk" : "generic")!;
    }
}
