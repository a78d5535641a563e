namespace Vhost.Conformance;

/// <summary>A buffer that is not where it says.</summary>
/// <param name="Id">Part of the ids of its cases.</param>
/// <param name="What">Completes "one …".</param>
/// <param name="Change">Makes it of an honest one.</param>
internal sealed record HostileBuffer(string Id, string What, Func<RawDescriptor, RawDescriptor> Change);

/// <summary>Buffers outside memory, of impossible lengths, in the ring itself, or with the wrong flags (R05, R06, R09).</summary>
internal static class HostileBuffers
{
    public static IReadOnlyList<HostileBuffer> Kinds { get; } =
    [
        new("wraps", "that goes over the end of the address space", static one => one with { Address = ulong.MaxValue - 7, Length = Math.Max(one.Length, 16) }),
        new("top", "at the last address there is", static one => one with { Address = ulong.MaxValue, Length = 1 }),
        new("nowhere", "where there is no memory", static one => one with { Address = CaseMemory.Nowhere }),
        new("crosses-end", "that goes over the end of its region", static one => one with { Address = CaseMemory.StandardSize - 1, Length = Math.Max(one.Length, 2) }),
        new("empty", "of no bytes", static one => one with { Length = 0 }),
        new("empty-nowhere", "of no bytes where there is no memory", static one => one with { Address = CaseMemory.Nowhere, Length = 0 }),
        new("huge", "of 2^32 - 1 bytes", static one => one with { Length = uint.MaxValue }),
        new("user-address", "that is named by its user address", static one => one with { Address = one.Address + CaseMemory.UserOffset }),
    ];

    public static async Task RunAsync(BackendPeer peer, HostileBuffer kind, int which)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        scene.Guard(CaseMemory.StandardSize - 4096, 4096);
        RawDescriptor[] chain = scene.VictimDescriptors;
        if (which >= chain.Length)
            throw Expect.Skipped($"the device has no request of {which + 1} buffers");
        chain[which] = kind.Change(chain[which]);
        scene.Offer(chain);
        await scene.EndAsync().ConfigureAwait(false);
    }

    /// <summary>The second buffer is one of the three parts of the ring; what the device reads there afterwards depends on what it wrote, so no verdict hangs on that.</summary>
    public static async Task InRingAsync(BackendPeer peer, int part)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor[] chain = scene.VictimDescriptors;
        int which = Math.Min(1, chain.Length - 1);
        chain[which] = chain[which] with { Address = Parts(scene.Ring)[part] };
        scene.Offer(chain);
        scene.Ring.Notify();
        _ = await scene.Ring.TryUsedAsync(peer.Quiet).ConfigureAwait(false);
        await scene.EndEitherWayAsync().ConfigureAwait(false);
    }

    public static async Task HoleAsync(BackendPeer peer)
    {
        const ulong hole = 4 << 20;
        const ulong behind = 6 << 20;
        CaseMemory memory = peer.UseMemory(new CaseRegion(0, hole), new CaseRegion(behind, CaseMemory.StandardSize - behind));
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        scene.Guard(behind, 4096);
        scene.Guard(hole - 4096, 4096);
        RawDescriptor[] chain = scene.VictimDescriptors;
        int which = Math.Min(1, chain.Length - 1);
        chain[which] = chain[which] with { Address = hole - 256, Length = (uint)(behind - hole) + 512 };
        Expect.That(!memory.Has(chain[which].Address, chain[which].Length), "a hole", "none");
        scene.Offer(chain);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task FlagsAsync(BackendPeer peer, Func<int, int, int> flags)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor[] chain = scene.VictimDescriptors;
        for (int i = 0; i < chain.Length; i++)
            chain[i] = chain[i] with { Flags = (ushort)flags(i, chain[i].Flags) };
        scene.Offer(chain);
        await scene.EndAsync().ConfigureAwait(false);
    }

    private static ulong[] Parts(DriverRing ring) => ring switch
    {
        SplitDriverRing split => [split.DescriptorTable, split.AvailableRing, split.UsedRing],
        PackedDriverRing packed => [packed.DescriptorRing, packed.DriverArea, packed.DeviceArea],
        _ => [],
    };
}
