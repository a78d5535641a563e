namespace Vhost.Conformance;

/// <summary>Steps that cases on rings share: work that fits a ring, in batches and over many turns.</summary>
internal static class RingWork
{
    /// <summary>As <see cref="BackendPeer.ServeAsync"/>, with the work ring at a base.</summary>
    public static async Task<DriverRing> ServeAtAsync(this BackendPeer peer, uint at, int size = BackendPeer.UsualRingSize)
    {
        await peer.NegotiateAsync().ConfigureAwait(false);
        await peer.ShareMemoryAsync().ConfigureAwait(false);
        DriverRing ring = await peer.StartOtherRingsAsync(size).ConfigureAwait(false);
        ring.StartAt(at);
        await peer.StartAsync(ring).ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        return ring;
    }

    /// <summary>A split ring as <see cref="BackendPeer.ServeAsync"/> starts it.</summary>
    public static async Task<SplitDriverRing> ServeSplitAsync(this BackendPeer peer, int size = BackendPeer.UsualRingSize) =>
        (SplitDriverRing)await peer.ServeAsync(null, size).ConfigureAwait(false);

    /// <summary>A packed ring as <see cref="BackendPeer.ServeAsync"/> starts it.</summary>
    public static async Task<PackedDriverRing> ServePackedAsync(this BackendPeer peer, int size = BackendPeer.UsualRingSize) =>
        (PackedDriverRing)await peer.ServeAsync(null, size).ConfigureAwait(false);

    /// <summary>Work in exactly so many buffers. A device that has none such ends the case.</summary>
    public static Work NewWorkOf(this BackendPeer peer, int buffers) =>
        peer.Device.NewWorkOf(peer.Memory, buffers) ?? throw Expect.Skipped($"the device has no request of {buffers} buffers");

    /// <summary>Makes work available whose chain is no longer than the ring, which is all that a driver may do.</summary>
    public static (uint Id, Work Work) OfferFitting(this BackendPeer peer, DriverRing ring)
    {
        Work work = peer.Device.NewWork(peer.Memory);
        if (work.Chain.Length > ring.Size)
            work = peer.NewWorkOf(ring.Size);
        return (ring.Offer(work.Chain), work);
    }

    /// <summary>How many chains of <see cref="OfferFitting"/> the ring holds at once.</summary>
    public static int Capacity(this BackendPeer peer, DriverRing ring)
    {
        int buffers = peer.Device.NewWork(peer.Memory).Chain.Length;
        return Math.Max(1, ring.Size / buffers);
    }

    /// <summary>Has so many requests done, as many at once as the ring holds or <paramref name="most"/>, with one kick for each batch.</summary>
    public static async Task WorkManyAsync(this BackendPeer peer, DriverRing ring, int count, int most = int.MaxValue)
    {
        int batch = Math.Min(most, peer.Capacity(ring));
        for (int done = 0; done < count; done += batch)
        {
            Dictionary<uint, Work> offered = [];
            for (int i = 0; i < Math.Min(batch, count - done); i++)
                Add(offered, peer.OfferFitting(ring));
            ring.Notify();
            await FinishAllAsync(ring, offered).ConfigureAwait(false);
        }
    }

    /// <summary>Has work done that is offered already.</summary>
    public static async Task FinishAllAsync(DriverRing ring, Dictionary<uint, Work> offered)
    {
        while (offered.Count > 0)
        {
            UsedBuffer used = await ring.UsedAsync($"all chains of the batch are used, {offered.Count} more").ConfigureAwait(false);
            Expect.That(offered.Remove(used.Id, out Work? work), "each used id is that of a chain that is under way", $"{used.Id}");
            Done(work, used);
        }

        Expect.That(!ring.TryTakeUsed(out UsedBuffer more), "each chain is used once", $"chain {more.Id} is used again");
    }

    /// <summary>Kicks and waits for one chain of work.</summary>
    public static async Task KickAndFinishAsync(DriverRing ring, Work work, uint id, string awaited = "the device does its work")
    {
        ring.Notify();
        UsedBuffer used = await ring.UsedAsync(awaited).ConfigureAwait(false);
        Expect.Equal(id, used.Id, "the id of the used chain");
        Done(work, used);
    }

    /// <summary>The work is right, and the device claims no byte that it could not write.</summary>
    public static void Done(Work work, UsedBuffer used)
    {
        Expect.That(used.Length <= work.Writable, $"a used length of at most {work.Writable} bytes, which is what the chain has for the device to write", $"{used.Length}");
        work.Check(used);
    }

    public static void Add(Dictionary<uint, Work> offered, (uint Id, Work Work) chain) => offered[chain.Id] = chain.Work;
}
