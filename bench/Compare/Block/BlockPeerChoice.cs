using System.Globalization;

namespace Vhost.Bench.Compare;

/// <summary>Tries every way of the peer once, in a quick look the likely ones, and remembers the fastest.</summary>
internal sealed class BlockPeerChoice(BlockStorage storage, int depth)
{
    private StorageDaemonCommand? _best;

    /// <summary>The fastest; valid after <see cref="MakeAsync"/>.</summary>
    internal StorageDaemonCommand Best => _best ?? throw new InvalidOperationException("No choice was made.");

    internal bool IsMade => _best is not null;

    internal async Task MakeAsync(Workbench bench)
    {
        if (_best is not null)
            return;
        double bestFigure = 0;
        string lastFailure = "";
        foreach (StorageDaemonCommand command in storage.Peers(bench).Where(command => command.IsLikely || !bench.Options.Quick))
        {
            try
            {
                Sample sample = await BlockRuns.PeerAsync(bench, command, depth, seconds: 1);
                double figure = BlockRuns.Unit(depth) == Units.Microseconds ? 1 / sample.Value : sample.Value;
                bench.Log(string.Create(CultureInfo.InvariantCulture, $"  tried: {sample.Value:0.0000} {BlockRuns.Unit(depth)}"));
                if (figure > bestFigure)
                    (bestFigure, _best) = (figure, command);
            }
            catch (BenchException failure)
            {
                lastFailure = failure.Message;
                bench.Log($"  tried: {failure.Message}");
            }
        }

        if (_best is null)
            throw new BenchException(lastFailure);
    }
}
