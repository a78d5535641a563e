using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Back-ends that use what they were not given, or say of it what is not so (F10 to F12, F14, F15, F19). What becomes of the driver is its own affair; the front-end must live.</summary>
internal static class CompletionsChapter
{
    public static FrontendChapter Cases { get; } = new("completions", "virtio: Split Virtqueues, The Virtqueue Used Ring")
    {
        { "f10-beyond", Robustness, "A used id beyond the ring does no harm", static peer => LyingAsync(peer, static (ring, chain) => ring.Use(ring.Size, chain.Writable)) },
        { "f10-huge", Robustness, "A used id of 2^32-1 does no harm", static peer => LyingAsync(peer, static (ring, chain) => ring.Use(uint.MaxValue, chain.Writable)) },
        { "f10-not-in-flight", Robustness, "A used id that is not in flight does no harm", static peer => LyingAsync(peer, static (ring, chain) => ring.Use((chain.Head + 1u) % ring.Size, chain.Writable)) },
        { "f10-twice", Robustness, "A chain that is used twice does no harm", static peer => LyingAsync(peer, Twice) },
        { "f11-length", Robustness, "A used length of 2^32-1 does no harm", static peer => LyingAsync(peer, static (ring, chain) => ring.Use(chain.Head, uint.MaxValue)) },
        { "f12-jump", Robustness, "A used index that jumps does no harm", static peer => LyingAsync(peer, static (ring, _) => ring.Publish((ushort)(ring.UsedIndex + 1000))) },
        { "f12-back", Robustness, "A used index that goes back does no harm", static peer => LyingAsync(peer, static (ring, _) => ring.Publish((ushort)(ring.UsedIndex - 1))) },
        { "f19-calls", Robustness, "A call descriptor that is signalled without end does no harm", CallsAsync },
    };

    private static void Twice(DeviceRing ring, DeviceChain chain)
    {
        ring.Use(chain.Head, chain.Writable);
        ring.Use(chain.Head, chain.Writable);
    }

    private static async Task LyingAsync(FrontendPeer peer, Action<DeviceRing, DeviceChain> lie)
    {
        peer.Script.ServesRings = false;
        peer.Play();
        DeviceRing? ring = null;
        DeviceChain? chain = null;
        await peer.UntilAsync(() => TryTake(peer, out ring, out chain), "a ring is started, and a request in it").ConfigureAwait(false);
        peer.Note($"ring {ring!.Index}: the suite lies about chain {chain!.Head}");
        lie(ring, chain);
        peer.Call(ring.Index);
        await peer.HoldsAsync(() => peer.HasLeft, 10 * peer.Patience.Quiet).ConfigureAwait(false);
        if (peer.HasLeft)
            peer.NoteRefusal("the front-end ended the connection");
    }

    private static async Task CallsAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        for (int i = 0; i < 10_000; i++)
            peer.Call(peer.Rings[0].Index);
        await peer.HoldsAsync(() => peer.HasLeft, peer.Patience.Quiet).ConfigureAwait(false);
        Expect.That(!peer.HasLeft, "the front-end goes on", "it ended the connection");
    }

    private static bool TryTake(FrontendPeer peer, out DeviceRing? ring, out DeviceChain? chain)
    {
        foreach (DeviceRing running in peer.Rings)
        {
            if (running.TryTake() is { } taken)
            {
                (ring, chain) = (running, taken);
                return true;
            }
        }

        (ring, chain) = (null, null);
        return false;
    }
}
