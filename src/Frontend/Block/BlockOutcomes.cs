using Microsoft.Extensions.Logging;

namespace Vhost.Frontend;

/// <summary>What one look at a queue is to tell to callers once the queue's gate is left. One thread at a time.</summary>
internal sealed class BlockOutcomes(ILogger log)
{
    private readonly List<BlockTransfer> _finished = [];
    private readonly List<(IProgress<long> Progress, long Done)> _reports = [];

    internal void Finish(BlockTransfer transfer) => _finished.Add(transfer);

    internal void Report(IProgress<long> progress, long done) => _reports.Add((progress, done));

    internal void Tell()
    {
        foreach ((IProgress<long> progress, long done) in _reports)
            Call(progress, done);
        foreach (BlockTransfer transfer in _finished)
            transfer.Signal();
        _reports.Clear();
        _finished.Clear();
    }

    /// <summary>The callback is the caller's own code; the requests of others must not suffer from it.</summary>
    private void Call(IProgress<long> progress, long done)
    {
        try
        {
            progress.Report(done);
        }
        catch (Exception e)
        {
            FrontendLog.ProgressFailed(log, e);
        }
    }
}
