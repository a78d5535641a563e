namespace Vhost.Conformance;

/// <summary>What the driver must not say of notifications (R14).</summary>
internal static class HostileEvents
{
    /// <summary>Position in the low half, flags in the high half.</summary>
    public static async Task RunAsync(BackendPeer peer, uint word)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        if (scene.Ring is SplitDriverRing split)
            (split.UsedEvent, split.AvailableFlags) = ((ushort)word, (ushort)(word >> 16));
        else
            scene.Packed.DriverEvent = word;
        scene.Offer(scene.VictimDescriptors);
        scene.Offer(scene.VictimDescriptors);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task DevicePartAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        if (scene.Ring is SplitDriverRing split)
        {
            scene.Memory.Write(split.UsedRing, ushort.MaxValue);
            scene.Memory.Write(split.UsedRing + 4 + (8UL * (ulong)split.Size), (ushort)0x7777);
        }
        else
        {
            scene.Memory.Write(scene.Packed.DeviceArea, uint.MaxValue);
        }

        scene.Offer(scene.VictimDescriptors);
        await scene.EndAsync().ConfigureAwait(false);
    }
}
