namespace Vhost.Conformance;

/// <summary>A word that changes while the device reads it.</summary>
/// <param name="Id">Part of the id of its case.</param>
/// <param name="What">What changes.</param>
/// <param name="InTable">Whether the request is in a table.</param>
/// <param name="Target">Where the word is, of the second descriptor's address and the scene.</param>
/// <param name="Size">Its bytes: 2, 4 or 8.</param>
/// <param name="Bad">What it is every other time.</param>
internal sealed record HostileRace(string Id, string What, bool InTable, Func<ulong, HostileScene, ulong> Target, int Size, ulong Bad);

/// <summary>Descriptors, tables and headers that another thread rewrites (R08). What the device sees is chance, so no verdict hangs on that.</summary>
internal static class HostileRaces
{
    private const int Rounds = 150;

    public static IReadOnlyList<HostileRace> Kinds { get; } =
    [
        new("length", "the length of a descriptor", false, static (entry, _) => entry + 8, 4, uint.MaxValue),
        new("address", "the address of a descriptor", false, static (entry, _) => entry, 8, CaseMemory.Nowhere),
        new("table-length", "the length of a descriptor in a table", true, static (entry, _) => entry + 8, 4, uint.MaxValue),
        new("table-address", "the address of a descriptor in a table", true, static (entry, _) => entry, 8, CaseMemory.Nowhere),
        new("table-flags", "the flags of a descriptor in a table", true, static (entry, scene) => entry + (scene.Ring.IsPacked ? 14u : 12u), 2, 0x7),
        new("header", "the first word of a request", false, static (_, scene) => scene.Victim.Chain[0].Address, 4, uint.MaxValue),
    ];

    public static async Task RunAsync(BackendPeer peer, HostileRace kind)
    {
        int size = peer.NeedsPacked ? HostileScene.Buffers : 4;
        HostileScene scene = await HostileScene.BeginAsync(peer, size).ConfigureAwait(false);
        if (scene.Victim.Chain.Length != HostileScene.Buffers)
            throw Expect.Skipped($"the device has no request of {HostileScene.Buffers} buffers");
        ulong table = kind.InTable ? scene.Memory.Allocate(16 * HostileScene.Buffers, 16) : 0;
        Offer(scene, table); // so that the word is there before it changes
        ulong at = kind.Target(SecondEntry(scene, table), scene);
        using CancellationTokenSource over = new();
        Task mutator = Task.Run(() => Mutate(scene.Memory, at, kind, over.Token), CancellationToken.None);
        try
        {
            await PlayAsync(scene, table).ConfigureAwait(false);
            await scene.EndEitherWayAsync().ConfigureAwait(false);
        }
        finally
        {
            await over.CancelAsync().ConfigureAwait(false);
            await mutator.ConfigureAwait(false);
        }
    }

    /// <summary>Until the device has had enough, or all rounds are done.</summary>
    private static async Task PlayAsync(HostileScene scene, ulong table)
    {
        ulong most = (ulong)scene.Victim.Chain.Sum(static buffer => buffer.Length);
        for (int round = 0; round < Rounds; round++)
        {
            scene.Ring.Kick.Signal();
            if (await scene.Ring.TryUsedAsync(scene.Peer.Quiet).ConfigureAwait(false) is not { } used)
                return;
            Expect.That(used.Length <= most, $"a used length of at most {most} bytes", $"{used.Length}");
            Offer(scene, table);
        }
    }

    private static void Offer(HostileScene scene, ulong table)
    {
        if (table != 0)
        {
            HostileTables.Write(scene, table, scene.VictimDescriptors);
            scene.Ring.OfferTable(table, 16 * HostileScene.Buffers);
        }
        else if (scene.Ring is SplitDriverRing split)
        {
            split.OfferAt([0, 1, 2], scene.Victim.Chain);
        }
        else
        {
            scene.Packed.OfferAs(1, scene.Victim.Chain);
        }
    }

    private static ulong SecondEntry(HostileScene scene, ulong table) => table != 0 ? table + 16
        : scene.Ring is SplitDriverRing split ? split.DescriptorTable + 16
        : scene.Packed.DescriptorRing + (16UL * (ulong)((scene.Packed.NextPlace + 1) % scene.Ring.Size));

    private static void Mutate(CaseMemory memory, ulong at, HostileRace kind, CancellationToken over)
    {
        ulong good = kind.Size switch { 8 => memory.Read<ulong>(at), 4 => memory.Read<uint>(at), _ => memory.Read<ushort>(at) };
        for (int i = 0; !over.IsCancellationRequested; i++)
        {
            ulong value = i % 2 == 0 ? kind.Bad : good;
            if (kind.Size == 8)
                memory.Write(at, value);
            else if (kind.Size == 4)
                memory.Write(at, (uint)value);
            else
                memory.Write(at, (ushort)value);
            Thread.SpinWait(1 + (i % 50));
        }
    }
}
