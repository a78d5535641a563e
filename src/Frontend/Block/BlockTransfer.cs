using System.Threading.Tasks.Sources;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// One call of the asynchronous form, split into requests. Pooled: it goes back when its result was taken and no request of it is in the
/// device any more. All state but the result is guarded by the gate of its queue.
/// </summary>
internal sealed class BlockTransfer(BlockTransferQueue queue) : IValueTaskSource
{
    private ManualResetValueTaskSourceCore<bool> _result = new() { RunContinuationsAsynchronously = true };
    private BlockPayload _payload;
    private CancellationTokenRegistration _cancellation;
    private ulong _submitted;
    private ulong _done;
    private bool _allSubmitted;
    private Exception? _error;

    internal BlockTransferRequest Request { get; private set; }

    internal IProgress<long>? Progress { get; private set; }

    internal long Done => (long)_done;

    internal short Version => _result.Version;

    /// <summary>Requests of this transfer in the device.</summary>
    internal int Outstanding { get; private set; }

    /// <summary>The result is settled; nothing is submitted or copied for it any more.</summary>
    internal bool IsFinished { get; private set; }

    /// <summary>The caller has taken the result.</summary>
    internal bool IsTaken { get; set; }

    /// <summary>The transfer stands in its queue's line.</summary>
    internal bool IsWaiting { get; set; }

    internal bool NeedsSubmission => !_allSubmitted && !IsFinished && _error is null;

    internal void Begin(in BlockTransferRequest request, in BlockPayload payload, IProgress<long>? progress)
    {
        Request = request;
        Progress = progress;
        _payload = payload;
        _submitted = 0;
        _done = 0;
        _allSubmitted = false;
        _error = null;
        Outstanding = 0;
        IsFinished = false;
        IsTaken = false;
        IsWaiting = true;
        _result.Reset();
    }

    /// <summary>Outside the gate, before the caller has the task: the callback may run at once.</summary>
    internal void WatchCancellation(CancellationToken cancellationToken)
    {
        if (cancellationToken.CanBeCanceled)
            _cancellation = cancellationToken.UnsafeRegister(static (state, token) => ((BlockTransfer)state!).Cancel(token), this);
    }

    /// <summary>The next part to submit, and its data in the slot's buffer.</summary>
    internal BlockPiece NextPiece(BlockQueue ring, int slot)
    {
        BlockPiece piece = new(_submitted, Math.Min(Request.MaxPiece, Request.Length - _submitted));
        if (Request.Type == VirtioBlkRequestType.Out)
            _payload.CopyTo(ring, slot, piece.Start, (uint)piece.Length);
        return piece;
    }

    internal void PieceSubmitted(in BlockPiece piece)
    {
        _submitted += piece.Length;
        _allSubmitted = _submitted == Request.Length;
        Outstanding++;
    }

    /// <summary>A request came back. True when it settles the transfer.</summary>
    internal bool PieceDone(BlockQueue ring, in BlockCompletion completion, in BlockPiece piece)
    {
        Outstanding--;
        if (IsFinished)
            return false;
        if (!completion.IsOk)
            _error ??= new BlockRequestException(Request.Type, Request.Offset + piece.Start, piece.Length, completion.Status);
        else if (Request.Type is VirtioBlkRequestType.In or VirtioBlkRequestType.GetId)
            _payload.CopyFrom(ring, completion.Slot, piece.Start, (uint)piece.Length);
        _done += piece.Length;
        return Outstanding == 0 && !NeedsSubmission && Finish(_error);
    }

    /// <summary>Settles the result; <see cref="Signal"/> then tells the caller, outside the gate. False when it was settled before.</summary>
    internal bool Finish(Exception? error)
    {
        if (IsFinished)
            return false;
        IsFinished = true;
        _error = error;
        _payload = default;
        return true;
    }

    internal void Signal()
    {
        if (_error is { } error)
            _result.SetException(error);
        else
            _result.SetResult(true);
    }

    public void GetResult(short token)
    {
        try
        {
            _result.GetResult(token);
        }
        finally
        {
            _cancellation.Dispose(); // waits for a callback that runs, so none meets the next user of this object
            _cancellation = default;
            Progress = null;
            queue.ResultTaken(this);
        }
    }

    public ValueTaskSourceStatus GetStatus(short token) => _result.GetStatus(token);

    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _result.OnCompleted(continuation, state, token, flags);

    private void Cancel(CancellationToken token) => queue.Cancel(this, new OperationCanceledException(token));
}

/// <summary>What a transfer does.</summary>
/// <param name="Type">The requests it is made of.</param>
/// <param name="Offset">First byte on the disk.</param>
/// <param name="Length">Bytes; 0 for a flush.</param>
/// <param name="MaxPiece">Most bytes of one request, greater than 0.</param>
/// <param name="MayUnmap">Of writing zeroes: the space may be given back.</param>
internal readonly record struct BlockTransferRequest(VirtioBlkRequestType Type, ulong Offset, ulong Length, ulong MaxPiece, bool MayUnmap = false);

/// <summary>A part of a transfer that is one request.</summary>
/// <param name="Start">First byte, counted from the transfer's.</param>
/// <param name="Length">Bytes.</param>
internal readonly record struct BlockPiece(ulong Start, ulong Length);
