namespace Vhost.Conformance;

/// <summary>Indices and links of split rings that lead nowhere (R01 to R04).</summary>
internal static class HostileIndexes
{
    /// <summary>Many front-ends, one after the other: what an index breaks in a back-end that takes it may show only when a later one comes.</summary>
    public static async Task FarAsync(BackendPeer peer)
    {
        const int times = 8;
        BackendPeer current = peer;
        for (int i = 0; i < times; i++)
        {
            if (i > 0)
                current = await peer.ConnectAnotherAsync().ConfigureAwait(false);
            await IndexAsync(current, static ring => (ushort)(ring.AvailableIndex + ring.Size + 1)).ConfigureAwait(false);
            await current.CloseAsync().ConfigureAwait(false);
            if (current.Refusal is { } refusal)
                peer.NoteRefusal(refusal);
        }
    }

    public static Task HalfAsync(BackendPeer peer) => IndexAsync(peer, static ring => (ushort)(ring.AvailableIndex + 0x8000));

    public static Task BackAsync(BackendPeer peer) => IndexAsync(peer, static ring => (ushort)(ring.AvailableIndex - 1));

    public static async Task HeadAsync(BackendPeer peer, ushort head)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        scene.Split.OfferHead(head);
        await scene.EndAsync().ConfigureAwait(false);
    }

    /// <summary>The victim's first descriptor goes on at a place that is none.</summary>
    public static async Task NextAsync(BackendPeer peer, ushort next)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor first = scene.VictimDescriptors[0];
        scene.Split.Descriptor(0, first.Address, first.Length, (ushort)(first.Flags | DriverRing.Next), next);
        Publish(scene, 0, scene.Victim.Writable);
        await scene.EndAsync().ConfigureAwait(false);
    }

    /// <summary>So many descriptors that are linked in a ring, each the victim's first buffer.</summary>
    public static async Task LoopAsync(BackendPeer peer, int descriptors, uint? length)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor first = scene.VictimDescriptors[0];
        for (int i = 0; i < descriptors; i++)
            scene.Split.Descriptor(i, first.Address, length ?? first.Length, (ushort)(first.Flags | DriverRing.Next), (ushort)((i + 1) % descriptors));
        Publish(scene, 0, (ulong)BackendPeer.UsualRingSize * scene.Victim.Writable);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task HeadTwiceAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        scene.Offer(scene.VictimDescriptors);
        scene.Split.OfferHead((ushort)HeadOfLast(scene));
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task SharedTailAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor[] chain = scene.VictimDescriptors;
        if (chain.Length < 2)
            throw Expect.Skipped("the device has no request with a tail");
        for (int i = 1; i < chain.Length; i++)
            scene.Split.Descriptor(8 + i, chain[i].Address, chain[i].Length, chain[i].Flags, (ushort)(8 + i + 1));
        foreach (ushort head in (ushort[])[2, 4])
        {
            scene.Split.Descriptor(head, chain[0].Address, chain[0].Length, chain[0].Flags, 8 + 1);
            Publish(scene, head, scene.Victim.Writable);
        }

        await scene.EndAsync().ConfigureAwait(false);
    }

    private static async Task IndexAsync(BackendPeer peer, Func<SplitDriverRing, ushort> index)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        for (int i = 0; i < scene.Ring.Size; i++)
            scene.Took((uint)i, (ulong)scene.Ring.Size << 10); // whatever lies in the ring is available now
        scene.Split.AvailableIndex = index(scene.Split);
        await scene.EndAsync().ConfigureAwait(false);
    }

    private static void Publish(HostileScene scene, ushort head, ulong writable)
    {
        scene.Took(head, writable);
        scene.Split.OfferHead(head);
    }

    private static uint HeadOfLast(HostileScene scene) =>
        scene.Memory.Read<ushort>(scene.Split.AvailableRing + 4 + (2UL * (ulong)((scene.Split.AvailableIndex - 1) % scene.Ring.Size)));
}
