using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The asynchronous form over one queue: any thread starts transfers, one loop collects completions and waits for the device's call.
/// Transfers with parts left take turns, so a long one does not keep short ones waiting.
/// </summary>
internal sealed class BlockTransferQueue
{
    private static readonly TimeSpan _longestLook = TimeSpan.FromSeconds(1);

    private readonly Lock _gate = new();
    private readonly BlockQueue _queue;
    private readonly EventNotifier _call;
    private readonly Queue<BlockTransfer> _waiting = new();
    private readonly Stack<BlockTransfer> _pool = new();
    private readonly Stack<int> _freeSlots = new();
    private readonly BlockTransfer?[] _bySlot;
    private readonly BlockPiece[] _pieces;
    private readonly BlockCompletion[] _completions;

    /// <summary>Of the loop alone.</summary>
    private readonly BlockOutcomes _outcomes;

    /// <summary>Of whoever looks without a call, one at a time.</summary>
    private readonly BlockOutcomes _foundOutcomes;
    private readonly Lock _lookGate = new();

    private Exception? _failure;
    private volatile bool _stopping;
    private Task _loop = Task.CompletedTask;

    internal BlockTransferQueue(BlockQueue queue, EventNotifier call, ILogger log)
    {
        (_outcomes, _foundOutcomes) = (new BlockOutcomes(log), new BlockOutcomes(log));
        _queue = queue;
        _call = call;
        _bySlot = new BlockTransfer?[queue.Depth];
        _pieces = new BlockPiece[queue.Depth];
        _completions = new BlockCompletion[queue.Depth];
        for (int slot = queue.Depth - 1; slot >= 0; slot--)
            _freeSlots.Push(slot);
    }

    /// <summary>Why the queue is dead, or null.</summary>
    internal Exception? Failure => Volatile.Read(ref _failure);

    internal void Run() => _loop = Task.Run(LoopAsync);

    internal ValueTask Start(in BlockTransferRequest request, in BlockPayload payload, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        BlockTransfer transfer;
        short version;
        Exception? broken = null;
        lock (_gate)
        {
            if (_failure is { } failure)
                return ValueTask.FromException(failure);
            if (!_pool.TryPop(out transfer!))
                transfer = new BlockTransfer(this);
            transfer.Begin(request, payload, progress);
            version = transfer.Version;
            _waiting.Enqueue(transfer);
            try
            {
                Pump();
            }
            catch (Exception e)
            {
                broken = e;
            }
        }

        if (broken is not null)
            Fail(broken);
        transfer.WatchCancellation(cancellationToken);
        return new ValueTask(transfer, version);
    }

    internal void Cancel(BlockTransfer transfer, OperationCanceledException reason)
    {
        bool finished;
        lock (_gate)
        {
            finished = transfer.Finish(reason);
        }

        if (finished)
            transfer.Signal();
    }

    internal void ResultTaken(BlockTransfer transfer)
    {
        lock (_gate)
        {
            transfer.IsTaken = true;
            ReturnIfUnused(transfer);
        }
    }

    /// <summary>Ends everything outstanding with <paramref name="reason"/>, and everything that comes later too.</summary>
    internal void Fail(Exception reason)
    {
        List<BlockTransfer> failed = new();
        lock (_gate)
        {
            if (_failure is not null)
                return;
            Volatile.Write(ref _failure, reason);
            _queue.Fail(reason);
            foreach (BlockTransfer? transfer in _bySlot.Concat(_waiting))
            {
                if (transfer is not null && transfer.Finish(reason))
                    failed.Add(transfer);
            }

            // Slots stay taken: the device may still write to them. Nobody waits for their transfers.
            _waiting.Clear();
        }

        foreach (BlockTransfer transfer in failed)
            transfer.Signal();
    }

    /// <summary>Collects what a device has completed without a call, and asks for the next one again: with EVENT_IDX one that was lost would be the last.</summary>
    internal void LookWithoutCall()
    {
        if (_queue.IsIdle || !_lookGate.TryEnter())
            return;
        try
        {
            if (Collect(_foundOutcomes) > 0)
                Arm();
        }
        catch (Exception e)
        {
            Fail(e);
        }
        finally
        {
            _lookGate.Exit();
        }
    }

    /// <summary>The back-end is gone: what it had completed before is done, whether its call or its farewell is seen first.</summary>
    internal void CollectLast()
    {
        // Bounded: whoever is inside tells of outcomes, and an application may wait for the end of the client in there.
        if (!_lookGate.TryEnter(_longestLook))
            return;
        try
        {
            while (Collect(_foundOutcomes) > 0)
            {
                // Until there is no more.
            }
        }
        catch (Exception e)
        {
            Fail(e);
        }
        finally
        {
            _lookGate.Exit();
        }
    }

    /// <summary>A quarter of the request time-out has passed.</summary>
    internal void LookForOverdue()
    {
        try
        {
            lock (_gate)
            {
                if (_failure is null)
                    _queue.LookForOverdue();
            }
        }
        catch (VhostUserException late)
        {
            Fail(late);
        }
    }

    /// <summary>See <see cref="BlockQueue.Rebuild"/>.</summary>
    internal int Rebuild()
    {
        lock (_gate)
        {
            return _queue.Rebuild();
        }
    }

    /// <summary>Makes the loop look for what has ended.</summary>
    internal void Wake() => _call.Signal();

    /// <summary>Ends the loop and whatever is outstanding.</summary>
    internal async Task StopAsync()
    {
        Fail(new ObjectDisposedException(nameof(BlockClient)));
        _stopping = true;
        _call.Signal();
        await BoundedWait.ForAsync(_loop).ConfigureAwait(false);
    }

    private async Task LoopAsync()
    {
        try
        {
            while (!_stopping && _failure is null)
            {
                if (Collect(_outcomes) > 0 || !Arm())
                    continue;
                await _call.WaitAsync().ConfigureAwait(false);
                _call.TryConsume();
            }
        }
        catch (Exception e)
        {
            Fail(e);
        }
    }

    private bool Arm()
    {
        lock (_gate)
        {
            // Failed: the ring may be closed already.
            return _failure is null && _queue.ArmCall();
        }
    }

    private int Collect(BlockOutcomes outcomes)
    {
        try
        {
            lock (_gate)
            {
                // Failed: the ring may be closed already.
                if (_failure is not null)
                    return 0;
                int count = _queue.Poll(_completions);
                for (int i = 0; i < count; i++)
                    Take(_completions[i], outcomes);
                Pump();
                return count;
            }
        }
        finally
        {
            outcomes.Tell();
        }
    }

    private void Take(in BlockCompletion completion, BlockOutcomes outcomes)
    {
        int slot = completion.Slot;
        BlockTransfer transfer = _bySlot[slot]!;
        _bySlot[slot] = null;
        _freeSlots.Push(slot);
        bool finished = transfer.PieceDone(_queue, completion, _pieces[slot]);
        if (transfer.Progress is { } progress && completion.IsOk)
            outcomes.Report(progress, transfer.Done);
        if (finished)
            outcomes.Finish(transfer);
        else
            ReturnIfUnused(transfer);
    }

    private void Pump()
    {
        bool any = false;
        while (_waiting.TryPeek(out BlockTransfer? transfer))
        {
            if (transfer.NeedsSubmission)
            {
                if (!_freeSlots.TryPeek(out int slot) || !TrySubmit(transfer, slot))
                    break;
                any = true;
                _freeSlots.Pop();
                _bySlot[slot] = transfer;
            }

            _waiting.Dequeue();
            if (transfer.NeedsSubmission)
                _waiting.Enqueue(transfer);
            else
                LeftQueue(transfer);
        }

        if (any)
            _queue.Publish();
    }

    private bool TrySubmit(BlockTransfer transfer, int slot)
    {
        BlockPiece piece = transfer.NextPiece(_queue, slot);
        BlockTransferRequest request = transfer.Request;
        ulong at = request.Offset + piece.Start;
        bool submitted = request.Type switch
        {
            VirtioBlkRequestType.In => _queue.TrySubmitRead(slot, at, (int)piece.Length),
            VirtioBlkRequestType.Out => _queue.TrySubmitWrite(slot, at, (int)piece.Length),
            VirtioBlkRequestType.Discard => _queue.TrySubmitDiscard(slot, at, piece.Length),
            VirtioBlkRequestType.WriteZeroes => _queue.TrySubmitWriteZeroes(slot, at, piece.Length, request.MayUnmap),
            VirtioBlkRequestType.GetId => _queue.TrySubmitGetId(slot),
            _ => _queue.TrySubmitFlush(slot),
        };
        if (submitted)
        {
            _pieces[slot] = piece;
            transfer.PieceSubmitted(piece);
        }

        return submitted;
    }

    private void LeftQueue(BlockTransfer transfer)
    {
        transfer.IsWaiting = false;
        ReturnIfUnused(transfer);
    }

    /// <summary>Once only: the last of the three, the caller, the device and the queue, lets go.</summary>
    private void ReturnIfUnused(BlockTransfer transfer)
    {
        if (transfer.IsTaken && transfer.Outstanding == 0 && !transfer.IsWaiting && _failure is null)
            _pool.Push(transfer);
    }
}
