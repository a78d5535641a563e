using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Steps that cases on rings share: work that fits a ring, in batches and over many turns.</summary>
internal static class RingWork
{
    /// <summary>As <see cref="BackendPeer.ServeAsync"/>, with the work ring at a base.</summary>
    public static async Task<DriverRing> ServeAtAsync(this BackendPeer peer, uint at, int size = BackendPeer.UsualRingSize)
    {
        DriverRing ring = await peer.BeginRingsAsync(null, size).ConfigureAwait(false);
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
            work.Done(used);
        }

        Expect.That(!ring.TryTakeUsed(out UsedBuffer more), "each chain is used once", $"chain {more.Id} is used again");
    }

    /// <summary>Kicks and waits for one chain of work.</summary>
    public static Task KickAndFinishAsync(DriverRing ring, Work work, uint id, string awaited = "the device does its work")
    {
        ring.Notify();
        return FinishAsync(ring, work, id, awaited);
    }

    /// <summary>Waits for one chain of work that was kicked for already, or needs no kick.</summary>
    public static async Task FinishAsync(DriverRing ring, Work work, uint id, string awaited)
    {
        UsedBuffer used = await ring.UsedAsync(awaited).ConfigureAwait(false);
        Expect.Equal(id, used.Id, "the id of the used chain");
        work.Done(used);
    }

    /// <summary>
    /// The next used chain of a device that need not use any. Null: it has stopped the ring without, or ended the connection. A device that is only slow has until it says that the ring is stopped, and a
    /// ring of which nothing came is stopped then.
    /// </summary>
    public static async Task<UsedBuffer?> ServedOrStoppedAsync(this BackendPeer peer, DriverRing ring)
    {
        if (await ring.TryServedAsync(peer.Quiet).ConfigureAwait(false) is { } used)
            return used;
        if (!await peer.TryStopAsync(ring).ConfigureAwait(false))
            peer.NoteRefusal(BackendPeer.Ended);
        return ring.TryTakeUsed(out UsedBuffer late) ? late : null;
    }

    /// <summary>Stops a ring that got what it should not, as any other. False: the connection was ended instead.</summary>
    public static async Task<bool> TryStopAsync(this BackendPeer peer, DriverRing ring)
    {
        const uint stop = (uint)VhostUserRequest.GetVringBase;
        await peer.Main.SendAsync(stop, BackendPeer.Plain, BackendPeer.RingState((uint)ring.Index, 0)).ConfigureAwait(false);
        using ReceivedMessage? reply = await peer.Main.TryReceiveAsync("a reply to GET_VRING_BASE, or the end of the connection").ConfigureAwait(false);
        if (reply is not null)
            Expect.That(reply.Header.Request == stop, "a reply to GET_VRING_BASE", $"one to {reply.Name}");
        return reply is not null;
    }

    /// <summary>Work that the peer may do or leave after input that breaks the rules, as long as it answers or ends the connection.</summary>
    public static async Task UsedOrNotAsync(this BackendPeer peer, DriverRing ring)
    {
        ring.Offer(peer.Device.NewWork(peer.Memory).Chain);
        ring.Notify();
        if (await ring.TryUsedAsync(peer.Quiet).ConfigureAwait(false) is null)
            peer.Note("the ring is not served");
        _ = await peer.GoesOnAsync().ConfigureAwait(false);
    }

    /// <summary>Negotiates, shares memory and starts the ring on which work is done and one more.</summary>
    public static async Task<(DriverRing Work, DriverRing Other)> ServeTwoAsync(this BackendPeer peer, int size = BackendPeer.UsualRingSize)
    {
        await peer.BeginAsync().ConfigureAwait(false);
        DriverRing other = peer.NewRing(peer.Device.WorkRing == 0 ? 1 : 0, size);
        await peer.StartAsync(other).ConfigureAwait(false);
        DriverRing work = peer.NewRing(peer.Device.WorkRing, size);
        await peer.StartAsync(work).ConfigureAwait(false);
        await peer.DriverReadyAsync().ConfigureAwait(false);
        return (work, other);
    }

    public static void Add(Dictionary<uint, Work> offered, (uint Id, Work Work) chain) => offered[chain.Id] = chain.Work;
}
