using System.Diagnostics;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Rings that are not aligned, counters that are full, and what goes away while requests are under way (R16, R18, R19).</summary>
internal static class HostilePlaces
{
    private const ulong Full = ulong.MaxValue - 1;

    public static async Task UnalignedAsync(BackendPeer peer, int part)
    {
        DriverRing ring = await peer.BeginRingsAsync().ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetVringNum, BackendPeer.RingState((uint)ring.Index, (uint)ring.Size)).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetVringBase, BackendPeer.RingState((uint)ring.Index, ring.Base)).ConfigureAwait(false);
        await peer.ToleratedAsync(VhostUserRequest.SetVringAddr, BackendPeer.Bytes(Moved(ring, part))).ConfigureAwait(false);
        await peer.SendAsync(VhostUserRequest.SetVringCall, BackendPeer.RingWord(ring.Index), ring.Call.Descriptor).ConfigureAwait(false);
        await peer.SendKickAsync(ring).ConfigureAwait(false);
        await peer.EnableAsync(ring).ConfigureAwait(false);
        ring.Notify();
        await peer.Main.SendAsync((uint)VhostUserRequest.GetVringBase, BackendPeer.Plain, BackendPeer.RingState((uint)ring.Index, 0)).ConfigureAwait(false);
        using ReceivedMessage? reply = await peer.Main.TryReceiveAsync("a reply to GET_VRING_BASE, or the end of the connection").ConfigureAwait(false);
        if (reply is null)
            peer.NoteRefusal("the connection was ended");
    }

    public static async Task KickFullAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        scene.Offer(scene.VictimDescriptors);
        await FillAsync(scene.Ring.Kick, peer.Quiet, peer.Patience).ConfigureAwait(false);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task CallFullAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        scene.Ring.Call.TryConsume();
        await FillAsync(scene.Ring.Call, peer.Quiet, peer.Patience).ConfigureAwait(false);
        scene.Offer(scene.VictimDescriptors);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task CloseAsync(BackendPeer peer)
    {
        HostileScene scene = await BusyAsync(peer).ConfigureAwait(false);
        scene.Ring.Notify();
        await peer.CloseAsync().ConfigureAwait(false);
    }

    public static async Task StopAsync(BackendPeer peer)
    {
        HostileScene scene = await BusyAsync(peer).ConfigureAwait(false);
        scene.Ring.Notify();
        await scene.EndEitherWayAsync().ConfigureAwait(false);
    }

    public static async Task DisableAsync(BackendPeer peer)
    {
        HostileScene scene = await BusyAsync(peer).ConfigureAwait(false);
        scene.Ring.Notify();
        await peer.EnableAsync(scene.Ring, false).ConfigureAwait(false);
        await peer.BarrierAsync().ConfigureAwait(false);
        await scene.EndEitherWayAsync().ConfigureAwait(false);
    }

    /// <summary>The rings are in the first region, all buffers in the second.</summary>
    public static async Task RegionGoneAsync(BackendPeer peer)
    {
        const ulong far = 0x1_0000_0000;
        // So much larger that the first one cannot be mapped over all of it.
        CaseMemory memory = peer.UseMemory(new CaseRegion(0, 4 << 20), new CaseRegion(far, 64 << 20));
        memory.PackFrom(far);
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        Fill(scene, peer.Device.NewLongWork(memory, 4 << 20));
        scene.Ring.Notify();
        await scene.Ring.KickTakenAsync().ConfigureAwait(false);
        byte[] table = new byte[VhostUserMemoryTable.EncodedSizeOf(1)];
        VhostUserMemoryTable.Write([memory.Regions[0]], table);
        _ = await peer.SayAsync(VhostUserRequest.SetMemTable, table, memory.Descriptors[0]).ConfigureAwait(false);
        await scene.EndEitherWayAsync().ConfigureAwait(false);
    }

    /// <summary>As much available as the ring holds.</summary>
    private static async Task<HostileScene> BusyAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        Fill(scene, scene.Victim);
        return scene;
    }

    private static void Fill(HostileScene scene, Work work)
    {
        for (int i = 0; i < scene.Ring.Size / work.Chain.Length; i++)
            scene.Offer(RawDescriptor.Of(work.Chain));
    }

    /// <summary>Writers of a counter without room wait if whoever has the descriptor wants it so: then it is emptied for them, so that this one never does.</summary>
    internal static async Task FillAsync(EventNotifier counter, TimeSpan quiet, TimeSpan patience)
    {
        long begun = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(begun) < patience)
        {
            counter.TryConsume();
            Task<int> write = Task.Run(() => Libc.Write(counter.Descriptor, BitConverter.GetBytes(Full)));
            while (await Task.WhenAny(write, Task.Delay(quiet)).ConfigureAwait(false) != write && Stopwatch.GetElapsedTime(begun) < patience)
                counter.TryConsume();
            if (write.IsCompleted && await write.ConfigureAwait(false) > 0)
                return;
        }

        throw Expect.Failed("a descriptor of the suite that it can write to itself", "the peer fills it all the time");
    }

    private static VhostUserVringAddress Moved(DriverRing ring, int part)
    {
        VhostUserVringAddress honest = ring.Address;
        return part switch
        {
            0 => honest with { DescriptorTable = new(honest.DescriptorTable.Value + 8) },
            1 => honest with { AvailableRing = new(honest.AvailableRing.Value + (ring.IsPacked ? 2u : 1u)) },
            _ => honest with { UsedRing = new(honest.UsedRing.Value + 2) },
        };
    }
}
