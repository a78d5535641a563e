using Vhost.Protocol;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Conformance;

/// <summary>Back-ends that use what they were not given, or say of it what is not so (F10 to F15, F19). What becomes of the driver is its own affair; the front-end must live.</summary>
internal static partial class CompletionsChapter
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
        { "f14-event", Robustness, "A wish for kicks that makes no sense does no harm", EventAsync, "", "virtio: Split Virtqueues, Available Buffer Notification Suppression" },
        { "f15-descriptors", Robustness, "A back-end that writes into the descriptor table does no harm", static peer => LyingAsync(peer, static (ring, chain) => Overwrite(ring, chain, 0xff)), "", "virtio: Split Virtqueues, The Virtqueue Descriptor Table" },
        { "f15-descriptors-zero", Robustness, "A back-end that clears the descriptor table does no harm", static peer => LyingAsync(peer, static (ring, chain) => Overwrite(ring, chain, 0)), "", "virtio: Split Virtqueues, The Virtqueue Descriptor Table" },
        { "f15-available", Robustness, "A back-end that writes into the available ring does no harm", static peer => LyingAsync(peer, OverwriteAvailable), "", "virtio: Split Virtqueues, The Virtqueue Available Ring" },
        { "f19-calls", Robustness, "A call descriptor that is signalled without end, and for nothing, does no harm", CallsAsync },
        { "packed", Must, "Once RING_PACKED is acknowledged requests come in packed rings", PackedServedAsync, "", Packed },
        { "f13-id-beyond", Robustness, "A used buffer id beyond the packed ring does no harm", static peer => LyingPackedAsync(peer, static (ring, chain) => ring.Use((ushort)ring.Size, chain.Writable)), "", Packed },
        { "f13-not-in-flight", Robustness, "A used buffer id that is not in flight does no harm", static peer => LyingPackedAsync(peer, static (ring, chain) => ring.Use((ushort)((chain.Head + 1u) % ring.Size), chain.Writable)), "", Packed },
        { "f13-twice", Robustness, "A buffer that is used twice does no harm", static peer => LyingPackedAsync(peer, static (ring, chain) => ring.UseTwice(chain, chain.Writable)), "", Packed },
        { "f13-length", Robustness, "A used length of 2^32-1 in a packed ring does no harm", static peer => LyingPackedAsync(peer, static (ring, chain) => ring.Use(chain.Head, uint.MaxValue)), "", Packed },
        { "f13-flags", Robustness, "Flags that say used, without a buffer id, do no harm", static peer => LyingPackedAsync(peer, static (ring, _) => ring.UseFlags(otherTurn: false)), "", Packed },
        { "f13-turn", Robustness, "A used descriptor of the other turn does no harm", static peer => LyingPackedAsync(peer, static (ring, _) => ring.UseFlags(otherTurn: true)), "", Packed },
        { "f13-place", Robustness, "A used descriptor that is written behind its place does no harm", static peer => LyingPackedAsync(peer, PackedBehind), "", Packed },
        { "f13-descriptors", Robustness, "A back-end that writes over all descriptors of a packed ring does no harm", static peer => LyingPackedAsync(peer, static (ring, _) => ring.OverwriteDescriptors(0xff)), "", Packed },
    };

    private static void Twice(SplitDeviceRing ring, DeviceChain chain)
    {
        ring.Use(chain.Head, chain.Writable);
        ring.Use(chain.Head, chain.Writable);
    }

    private static void Overwrite(SplitDeviceRing ring, DeviceChain chain, byte with)
    {
        ring.OverwriteDescriptors(with);
        ring.Use(chain.Head, chain.Writable);
    }

    private static void OverwriteAvailable(SplitDeviceRing ring, DeviceChain chain)
    {
        ring.OverwriteAvailable(ushort.MaxValue);
        ring.Use(chain.Head, chain.Writable);
    }

    private static async Task EventAsync(FrontendPeer peer)
    {
        peer.Script.Features |= VirtioFeatures.EventIndex;
        peer.Play();
        await peer.UntilAsync(() => peer.WithRing(static _ => true), "a ring is started").ConfigureAwait(false);
        if ((peer.State.Features & VirtioFeatures.EventIndex) == 0)
            throw Expect.Skipped("the front-end does not acknowledge EVENT_IDX");
        for (ushort wish = 0x7fff; wish > 0x7000 && !peer.HasLeft; wish -= 0x333)
        {
            peer.WithRing(ring =>
            {
                SplitDeviceRing split = (SplitDeviceRing)ring;
                split.WishKickAfter((ushort)(split.AvailableIndex + wish));
                return false;
            });
            int served = peer.Served;
            await peer.HoldsAsync(() => peer.Served > served, peer.Watch).ConfigureAwait(false);
        }

        await peer.MayLeaveAsync().ConfigureAwait(false);
    }

    private static async Task LyingAsync(FrontendPeer peer, Action<SplitDeviceRing, DeviceChain> lie)
    {
        peer.Script.ServesRings = false;
        peer.Play();
        await peer.UntilAsync(() => peer.WithRing(ring => TryLie(peer, (SplitDeviceRing)ring, lie)), "a ring is started, and a request in it").ConfigureAwait(false);
        await peer.MayLeaveAsync().ConfigureAwait(false);
    }

    private static bool TryLie<T>(FrontendPeer peer, T ring, Action<T, DeviceChain> lie)
        where T : DeviceRing
    {
        if (ring.TryTake() is not { } chain)
            return false;
        peer.Note($"ring {ring.Index}: the suite lies about chain {chain.Head}");
        lie(ring, chain);
        peer.Call(ring.Index);
        return true;
    }

    private static async Task CallsAsync(FrontendPeer peer)
    {
        await peer.ServedAsync().ConfigureAwait(false);
        uint called = peer.Said.First(static message => message.Request == VhostUserRequest.SetVringKick).Ring;
        peer.Script.ServesRings = false; // calls with nothing to tell
        for (int i = 0; i < 10_000; i++)
        {
            peer.Call(called);
            if (i % 100 == 0)
                await Task.Delay(1).ConfigureAwait(false);
        }

        peer.Script.ServesRings = true;
        await peer.MayLeaveAsync().ConfigureAwait(false); // one that has nothing more to ask for may be done
    }
}
