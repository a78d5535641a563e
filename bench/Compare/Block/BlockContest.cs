using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>
/// <c>blk/&lt;null|memory|file&gt;/&lt;depth&gt;</c>: our back-end against qemu-storage-daemon, both behind our front-end; with <c>/pair</c> the same runs of
/// ours, for which there is a goal and no peer.
/// </summary>
internal sealed class BlockContest : Contest
{
    private const int QuickChoiceDepth = 32;

    private static readonly int[] _depths = [1, QuickChoiceDepth, 128];

    private readonly BlockStorage _storage;
    private readonly int _depth;
    private readonly BlockPeerChoice _choice;

    private BlockContest(BlockStorage storage, int depth, BlockPeerChoice choice)
    {
        _storage = storage;
        _depth = depth;
        _choice = choice;
        string name = string.Create(CultureInfo.InvariantCulture, $"blk/{storage.Name}/{depth}");
        Rows = [new RowPlan(name, BlockRuns.Unit(depth)), new RowPlan(name + "/pair", BlockRuns.Unit(depth), HasPeer: false)];
    }

    internal override IReadOnlyList<RowPlan> Rows { get; }

    internal override bool IsQuick => _depth is 1 or QuickChoiceDepth;

    /// <summary>The peer's best way is found for each depth; in a quick look once for each storage.</summary>
    internal static IEnumerable<Contest> All(bool quick)
    {
        foreach (BlockStorage storage in BlockStorage.All)
        {
            BlockPeerChoice shared = new(storage, QuickChoiceDepth);
            foreach (int depth in _depths)
                yield return new BlockContest(storage, depth, quick ? shared : new BlockPeerChoice(storage, depth));
        }
    }

    internal override Task PrepareAsync(Workbench bench) => _choice.MakeAsync(bench);

    internal override Task<Sample> RunOursAsync(Workbench bench) => BlockRuns.OursAsync(bench, _storage, _depth, _choice.IsMade && _choice.Best.Direct);

    internal override Task<Sample> RunPeerAsync(Workbench bench) => BlockRuns.PeerAsync(bench, _choice.Best, _depth, bench.Options.Seconds);
}
