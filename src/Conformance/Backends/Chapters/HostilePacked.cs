namespace Vhost.Conformance;

/// <summary>Flags, ids and chains of packed rings that say what they must not (R03, R04, R13).</summary>
internal static class HostilePacked
{
    private const ushort Both = PackedDriverRing.AvailableFlag | PackedDriverRing.UsedFlag;

    public static async Task EndlessAsync(BackendPeer peer, uint? length)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor first = scene.VictimDescriptors[0];
        RawDescriptor[] chain = new RawDescriptor[scene.Ring.Size];
        Array.Fill(chain, first with { Length = length ?? first.Length, Flags = (ushort)(first.Flags | DriverRing.Next) });
        scene.Offer(chain);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task IdTwiceAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        scene.Took(3, scene.Victim.Writable);
        scene.Packed.OfferAs(3, scene.Victim.Chain);
        scene.Packed.OfferAs(3, scene.Victim.Chain);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task IdAsync(BackendPeer peer, ushort id)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        scene.Took(id, scene.Victim.Writable);
        scene.Packed.OfferAs(id, scene.Victim.Chain);
        await scene.EndAsync().ConfigureAwait(false);
    }

    /// <summary>The flags of the turn before last, which say: not available.</summary>
    public static Task WrongTurnAsync(BackendPeer peer) =>
        NothingAvailableAsync(peer, static ring => ring.Wrap ? PackedDriverRing.UsedFlag : PackedDriverRing.AvailableFlag);

    public static Task LooksUsedAsync(BackendPeer peer) => NothingAvailableAsync(peer, static ring => ring.Wrap ? Both : (ushort)0);

    public static async Task PartialAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor first = scene.VictimDescriptors[0];
        ushort flags = (ushort)(first.Flags | DriverRing.Next | PackedDriverRing.AvailableFlag);
        for (int i = 0; i < scene.Ring.Size; i++)
            scene.Took((uint)i, scene.Victim.Writable + (1UL << 10)); // what follows is left over from the request before
        scene.Packed.Descriptor(scene.Packed.NextPlace, first.Address, first.Length, 5, flags);
        await scene.EndAsync().ConfigureAwait(false);
    }

    /// <summary>Descriptors behind the driver's position become available out of turn.</summary>
    public static async Task BehindAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor first = scene.VictimDescriptors[0];
        int free = scene.Packed.NextPlace;
        for (int place = free + 1; place < scene.Ring.Size; place++)
            scene.Packed.Descriptor(place, first.Address, first.Length, (ushort)place, (ushort)(first.Flags | PackedDriverRing.AvailableFlag));
        await scene.EndAsync().ConfigureAwait(false);
    }

    private static async Task NothingAvailableAsync(BackendPeer peer, Func<PackedDriverRing, ushort> flags)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        PackedDriverRing ring = scene.Packed;
        RawDescriptor first = scene.VictimDescriptors[0];
        ring.Descriptor(ring.NextPlace, first.Address, first.Length, 0, (ushort)(first.Flags | flags(ring)));
        uint before = ring.Base & 0xffff;
        ring.Notify();
        await Task.Delay(peer.Quiet).ConfigureAwait(false);
        Expect.Equal(before, await peer.StopAsync(ring).ConfigureAwait(false) & 0xffff, "the base of a ring with nothing available");
    }
}
