using Vhost.Protocol;

namespace Vhost.Conformance;

// The same in packed rings (F13), with front-ends that acknowledge RING_PACKED where it is offered.
internal static partial class CompletionsChapter
{
    private const string Packed = "virtio: Packed Virtqueues";
    private const int Turns = 3;

    /// <summary>One is enough: not every front-end has more to ask for. Those that have go round the ring.</summary>
    private static async Task PackedServedAsync(FrontendPeer peer)
    {
        await PlayPackedAsync(peer).ConfigureAwait(false);
        await peer.UntilAsync(() => peer.Served > 0, "a request in a packed ring").ConfigureAwait(false);
        int turns = Turns * (int)peer.Rings.Sum(static ring => ring.Size);
        await peer.HoldsAsync(() => peer.Served > turns, 10 * peer.Patience.Quiet).ConfigureAwait(false);
    }

    private static async Task LyingPackedAsync(FrontendPeer peer, Action<PackedDeviceRing, DeviceChain> lie)
    {
        peer.Script.ServesRings = false;
        await PlayPackedAsync(peer).ConfigureAwait(false);
        await peer.UntilAsync(() => peer.WithRing(ring => TryLie(peer, (PackedDeviceRing)ring, lie)), "a request in a ring that runs").ConfigureAwait(false);
        await peer.MayLeaveAsync().ConfigureAwait(false);
    }

    /// <summary>Until a packed ring runs.</summary>
    private static async Task PlayPackedAsync(FrontendPeer peer)
    {
        peer.Script.Features |= VirtioFeatures.RingPacked;
        peer.Play();
        await peer.UntilAsync(() => peer.WithRing(static _ => true), "a ring is started").ConfigureAwait(false);
        if ((peer.State.Features & VirtioFeatures.RingPacked) == 0)
            throw Expect.Skipped("the front-end does not acknowledge RING_PACKED");
    }

    private static void PackedBehind(PackedDeviceRing ring, DeviceChain chain)
    {
        ring.Skip(1);
        ring.Use(chain.Head, chain.Writable);
    }
}
