using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>The words of front-ends about a ring, in whatever order: NUM, BASE, ADDR, CALL, KICK, ENABLE.</summary>
internal static class RingWords
{
    /// <summary>Says words about one ring, with spaces between.</summary>
    public static async Task SayRingAsync(this BackendPeer peer, DriverRing ring, string words)
    {
        foreach (string word in words.Split(' '))
            await SayAsync(peer, ring, word).ConfigureAwait(false);
    }

    /// <summary>Makes all rings that the device needs, says words about each, and returns them; the last is the one on which work is done.</summary>
    public static async Task<IReadOnlyList<DriverRing>> SayRingsAsync(this BackendPeer peer, string words)
    {
        List<DriverRing> rings = peer.NewRings();
        await peer.SayRingsAsync(rings, words).ConfigureAwait(false);
        return rings;
    }

    /// <summary>Says words about each of some rings.</summary>
    public static async Task SayRingsAsync(this BackendPeer peer, IEnumerable<DriverRing> rings, string words)
    {
        foreach (DriverRing ring in rings)
            await peer.SayRingAsync(ring, words).ConfigureAwait(false);
    }

    /// <summary>All rings that the device needs, of which the peer knows nothing yet; the last is the one on which work is done.</summary>
    public static List<DriverRing> NewRings(this BackendPeer peer) =>
        [.. Enumerable.Range(0, peer.Device.Rings).OrderBy(index => index == peer.Device.WorkRing).Select(index => peer.NewRing(index))];

    private static Task SayAsync(BackendPeer peer, DriverRing ring, string word)
    {
        uint index = (uint)ring.Index;
        return word switch
        {
            "NUM" => peer.SendAsync(VhostUserRequest.SetVringNum, BackendPeer.RingState(index, (uint)ring.Size)),
            "BASE" => peer.SendAsync(VhostUserRequest.SetVringBase, BackendPeer.RingState(index, ring.Base)),
            "ADDR" => peer.SendAsync(VhostUserRequest.SetVringAddr, BackendPeer.Bytes(ring.Address)),
            "CALL" => peer.SendAsync(VhostUserRequest.SetVringCall, BackendPeer.RingWord(ring.Index), ring.Call.Descriptor),
            "KICK" => peer.SendKickAsync(ring),
            _ => peer.EnableAsync(ring),
        };
    }
}
