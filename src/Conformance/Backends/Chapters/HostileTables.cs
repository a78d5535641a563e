namespace Vhost.Conformance;

/// <summary>A descriptor that refers to a table where there is none, or not all of it.</summary>
/// <param name="Id">Part of the id of its case.</param>
/// <param name="What">Completes "a table …".</param>
/// <param name="Place">Address and length, of those of an honest one.</param>
internal sealed record HostileTable(string Id, string What, Func<ulong, uint, (ulong At, uint Length)> Place);

/// <summary>Tables of descriptors that break the rules (R07).</summary>
internal static class HostileTables
{
    public static IReadOnlyList<HostileTable> Kinds { get; } =
    [
        new("empty", "of no bytes", static (at, _) => (at, 0)),
        new("short", "of 15 bytes", static (at, _) => (at, 15)),
        new("ragged", "whose length is no multiple of 16", static (at, length) => (at, length + 1)),
        new("huge", "of almost 4 GiB", static (at, _) => (at, 0xffff_fff0)),
        new("long", "of 65537 descriptors", static (at, _) => (at, 16 * 65_537)),
        new("nowhere", "where there is no memory", static (_, length) => (CaseMemory.Nowhere, length)),
        new("crosses-end", "that goes over the end of its region", static (_, length) => (CaseMemory.StandardSize - 8, Math.Max(length, 16))),
        new("wraps", "that goes over the end of the address space", static (_, length) => (ulong.MaxValue - 15, Math.Max(length, 32))),
        new("in-ring", "that is the ring itself", static (_, length) => (0, length)),
    ];

    public static async Task RunAsync(BackendPeer peer, HostileTable kind)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        ulong table = Table(scene, scene.VictimDescriptors);
        (ulong at, uint length) = kind.Place(table, (uint)(16 * scene.Victim.Chain.Length));
        scene.Took(scene.Ring.OfferTable(at, length), scene.Victim.Writable + (1 << 10)); // the ring itself refers to the buffers of another request
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task HonestAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        ulong table = Table(scene, scene.VictimDescriptors);
        scene.Took(scene.Ring.OfferTable(table, (uint)(16 * scene.Victim.Chain.Length)), scene.Victim.Writable);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task NestedAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        ulong inner = Table(scene, scene.VictimDescriptors);
        ulong outer = Table(scene, [new RawDescriptor(inner, (uint)(16 * scene.Victim.Chain.Length), DriverRing.Indirect)]);
        scene.Took(scene.Ring.OfferTable(outer, 16), scene.Victim.Writable);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task ItselfAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        ulong table = scene.Memory.Allocate(16, 16);
        Write(scene, table, [new RawDescriptor(table, 16, DriverRing.Indirect)]);
        scene.Took(scene.Ring.OfferTable(table, 16), 0);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task WithNextAsync(BackendPeer peer)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor[] chain = scene.VictimDescriptors;
        ulong table = Table(scene, chain);
        scene.Offer(new RawDescriptor(table, (uint)(16 * chain.Length), DriverRing.Indirect | DriverRing.Next), chain[^1]);
        await scene.EndAsync().ConfigureAwait(false);
    }

    public static async Task TwoRegionsAsync(BackendPeer peer)
    {
        const ulong border = 4 << 20;
        _ = peer.UseMemory(new CaseRegion(0, border), new CaseRegion(border, CaseMemory.StandardSize - border));
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor[] chain = scene.VictimDescriptors;
        Write(scene, border - 16, chain);
        scene.Took(scene.Ring.OfferTable(border - 16, (uint)(16 * chain.Length)), scene.Victim.Writable);
        await scene.EndAsync().ConfigureAwait(false);
    }

    /// <summary>The second entry of a table of three is linked to one that is none, or to itself.</summary>
    public static async Task LinkAsync(BackendPeer peer, ushort next)
    {
        HostileScene scene = await HostileScene.BeginAsync(peer).ConfigureAwait(false);
        RawDescriptor first = scene.VictimDescriptors[0];
        ulong table = scene.Memory.Allocate(16 * 3, 16);
        scene.Split.Descriptor(table, 0, first.Address, first.Length, (ushort)(first.Flags | DriverRing.Next), 1);
        scene.Split.Descriptor(table, 1, first.Address, first.Length, (ushort)(first.Flags | DriverRing.Next), next);
        scene.Took(scene.Ring.OfferTable(table, 16 * 3), 3 * scene.Victim.Writable);
        await scene.EndAsync().ConfigureAwait(false);
    }

    /// <summary>A table in guarded memory.</summary>
    public static ulong Table(HostileScene scene, ReadOnlySpan<RawDescriptor> entries)
    {
        ulong table = scene.Memory.Allocate(16 * entries.Length, 16);
        Write(scene, table, entries);
        scene.Guard(table, 16 * entries.Length);
        return table;
    }

    /// <summary>Entries in the layout of the ring.</summary>
    public static void Write(HostileScene scene, ulong table, ReadOnlySpan<RawDescriptor> entries)
    {
        int third = scene.Ring.IsPacked ? 14 : 12; // where the flags are
        for (int i = 0; i < entries.Length; i++)
        {
            ulong at = table + (16UL * (ulong)i);
            scene.Memory.Write(at, entries[i].Address);
            scene.Memory.Write(at + 8, entries[i].Length);
            scene.Memory.Write(at + 12, scene.Ring.IsPacked ? 0u : (uint)(i + 1) << 16);
            scene.Memory.Write(at + (ulong)third, (ushort)(scene.Ring.IsPacked ? entries[i].Flags & ~DriverRing.Next : entries[i].Flags));
        }
    }
}
