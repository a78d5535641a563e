using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The dirty log: what the device has written is marked when it is shown to the driver, at the latest when its buffers are the queue's again.</summary>
public sealed partial class DeviceVirtqueue
{
    private QueueLogSetup? _logSetup;
    private QueueLog? _log;

    /// <summary>The same for threads that complete chains elsewhere.</summary>
    private volatile QueueLog? _logShown;

    /// <summary>Which chains of the batch were marked, or will be by whoever has them; without meaning while there is no log.</summary>
    private bool[] _marked = [];

    /// <summary>Where the chain that comes back next probably is: the one behind the last.</summary>
    private int _markNext;

    /// <summary>
    /// Descriptors of a packed ring that the last back-end had taken: those that it had written as used and not shown were taken back when the ring started, before it had a log.
    /// </summary>
    private (ushort From, ushort To) _recovered;

    /// <summary>What is to be logged of chains that were detached; null: nothing. Any thread.</summary>
    internal QueueLog? LogOfDetached => _logShown;

    /// <summary>
    /// Marks guest memory as written, for a migration: for a device that writes where no chain of its queues says. What it writes to chains is marked by the library. Does nothing while
    /// no front-end logs.
    /// </summary>
    /// <param name="at">First byte.</param>
    /// <param name="length">Bytes.</param>
    public void MarkDirty(GuestAddress at, ulong length) => _log?.Wrote(at.Value, length);

    /// <summary>Marks pages there from now on; null: nowhere.</summary>
    internal void SetLog(QueueLogSetup? setup)
    {
        _logSetup = setup;
        OpenLog();
        _log?.ShowedUsed(_recovered.From, _recovered.To);
        _recovered = default;
    }

    /// <summary>Uses the log with the table on which the queue has its lease now.</summary>
    private void OpenLog()
    {
        QueueLog? old = _log;
        _log = _logSetup is { } setup && (_lease.Memory ?? _suspendedTable) is { } table ? QueueLog.TryOpen(setup, table, _setup) : null;
        _logShown = _log;
        if (old is null)
            Array.Clear(_marked); // what stands there is of a log before, and of another batch
        old?.Tell();
        old?.Close();
    }

    private void CloseLog()
    {
        _logSetup = null;
        OpenLog();
    }

    /// <summary>A chain of the batch is given back. A head that the driver has offered several times stands for its chains in turn: all of them come.</summary>
    private void MarkChain(QueueLog log, ushort head, uint bytesWritten)
    {
        bool[] marked = Marked();
        for (int i = 0; i < _handed; i++)
        {
            int place = _markNext >= _handed ? 0 : _markNext;
            _markNext = place + 1;
            if (_batch[place].Id != head || marked[place])
                continue;
            marked[place] = true;
            log.Wrote(_batch.Writable(_batch[place]), log.Touched(bytesWritten, _batch[place].WritableLength));
            return;
        }
    }

    private static void MarkLinear(QueueLog log, ReadOnlySpan<LinearChain> chains, ReadOnlySpan<uint> bytesWritten)
    {
        for (int i = 0; i < bytesWritten.Length; i++)
            log.Wrote(chains[i].Address, Math.Min(bytesWritten[i], chains[i].Length));
    }

    /// <summary>The device answers for what is written to this chain of the batch.</summary>
    private void LeaveToDetached(int place)
    {
        if (_log is not null)
            Marked()[place] = true;
    }

    /// <summary>The batch is about to go. Chains that were taken from it and are not given back yet may be, by their heads, when nobody knows their buffers any more.</summary>
    private void MarkRest(QueueLog log)
    {
        bool[] marked = Marked();
        for (int i = 0; i < _handed; i++)
        {
            if (!marked[i])
                log.Wrote(_batch.Writable(_batch[i]), _batch[i].WritableLength);
        }

        Array.Clear(marked);
        _markNext = 0;
    }

    private bool[] Marked()
    {
        if (_marked.Length < _batch.Count)
            Array.Resize(ref _marked, Math.Max(_batch.Count, ChainBatch.Capacity));
        return _marked;
    }
}
