using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>From one step of a request to the next, and to its end.</summary>
internal sealed partial class BlockRequests
{
    /// <summary>Times that a step is begun again when the kernel gives it back undone, since memory is short or the thread that began it has ended.</summary>
    private const int MostAttempts = 16;

    private static readonly TimeSpan _pauseAlone = TimeSpan.FromMilliseconds(5);

    private BlockRequest Begin(in DescriptorChain chain, BlockStep step)
    {
        if (!_free.TryPop(out BlockRequest? request))
            request = Make();
        request.Chain = chain.Detach();
        request.Step = step;
        request.Attempts = 0;
        request.IsDurable = false;
        request.Bounces = false;
        return request;
    }

    private BlockRequest Make() => _requests[_made] = new BlockRequest(_made++);

    private void BeginTransfer(in DescriptorChain chain, BlockStep step, ulong offset, in GuestBuffers data, uint done, bool durable = false)
    {
        BlockRequest request = Begin(chain, step);
        request.BeginData(offset, data.Length, done);
        request.IsDurable = durable;
        request.Bounces = !_file.Suits(data);
        if (!request.Bounces || _lane.Enter(request))
            Continue(request);
    }

    private void Continue(BlockRequest request)
    {
        _steps++;
        switch (request.Step)
        {
            case BlockStep.Read:
                Moved += _ring.Read(request.Place, request.Offset + request.Done, request.Bounces ? _lane.ToFill(request) : request.Remaining());
                break;
            case BlockStep.Write:
                Moved += _ring.Write(
                    request.Place, request.Offset + request.Done, request.Bounces ? _lane.Filled(request) : request.Remaining(), request.IsDurable);
                break;
            case BlockStep.Sync:
                _ring.Sync(request.Place);
                break;
            default:
                VirtioBlkRange range = request.Range;
                bool punch = request.Step == BlockStep.Discard || (range.Flags & VirtioBlkRangeFlags.Unmap) != 0;
                _ring.Allocate(request.Place, punch ? FileStorage.PunchHole : FileStorage.ZeroRange, SectorMath.ToBytes(range.Sector), SectorMath.ToBytes(range.SectorCount));
                break;
        }
    }

    /// <summary>A step has ended: goes on to the next, or answers the request.</summary>
    private void End(BlockRequest request, int result)
    {
        try
        {
            if (IsUndone(request, result) || TryGoOn(request, result))
                Continue(request);
            else
                Answer(request, VirtioBlkStatus.Ok, request.Step == BlockStep.Read ? request.Length : 0);
        }
        catch (Exception e)
        {
            // Whatever it is: the chain has to be given back, or the guest's memory would stay mapped for good.
            _device.StorageFailed(e);
            Answer(request, VirtioBlkStatus.IoError, 0);
        }
    }

    private static bool IsUndone(BlockRequest request, int result)
    {
        bool undone = result is -Libc.EAGAIN or -Libc.EINTR or -Libc.ECANCELED && request.Attempts < MostAttempts;
        request.Attempts = undone ? request.Attempts + 1 : 0;
        return undone;
    }

    /// <summary>Takes the result of a step and prepares what remains.</summary>
    /// <returns>Whether anything does.</returns>
    private bool TryGoOn(BlockRequest request, int result)
    {
        switch (request.Step)
        {
            case BlockStep.Read:
                return TryReadOn(request, Checked(request, result));
            case BlockStep.Write:
                request.Done += Checked(request, result);
                if (result == 0)
                    throw new LinuxException("write: nothing written", Libc.EIO);
                return request.Done != request.Length || TrySync(request);
            case BlockStep.Sync:
                Checked(request, result);
                return false;
            default:
                return TryChangeOn(request, result);
        }
    }

    private bool TryReadOn(BlockRequest request, uint read)
    {
        uint left = request.Length - request.Done;
        uint asked = request.Bounces ? BounceLane.NextPiece(request) : left;
        bool end = read < asked && _file.IsEnd(request.Offset + request.Done, read, asked);
        if (request.Bounces)
            _lane.Deliver(request, read);
        request.Done += read;
        if (end)
            FillBehindEnd(request);
        return request.Done != request.Length;
    }

    /// <summary>What lies behind the end of the file reads as zeroes; of a long request piece by piece, since it may be all of it.</summary>
    private void FillBehindEnd(BlockRequest request)
    {
        // Up to a multiple: a file that is read directly is asked for whole blocks alone.
        ulong next = ((request.Done / BlockTurn.MostAtOnce) + 1UL) * BlockTurn.MostAtOnce;
        uint count = (uint)Math.Min(next, request.Length) - request.Done;
        request.Remaining().Slice(0, count).Fill(0);
        request.Done += count;
        Moved += count;
    }

    private bool TryChangeOn(BlockRequest request, int result)
    {
        if (result < 0 && FileStorage.IsUnsupported(-result))
        {
            // Giving space back is a wish; zeroes are not.
            if (request.Step == BlockStep.WriteZeroes)
                WriteZeroesByHand(request.Range);
        }
        else
        {
            Checked(request, result);
        }

        return request.NextRange() || TrySync(request);
    }

    private void WriteZeroesByHand(in VirtioBlkRange range)
    {
        ulong length = SectorMath.ToBytes(range.SectorCount);
        _file.WriteZeroesByHand(SectorMath.ToBytes(range.Sector), length);
        Moved += length;
    }

    /// <summary>Without a write cache a change is answered when it is durable: also one that was begun while there was a cache.</summary>
    private bool TrySync(BlockRequest request)
    {
        if (request.IsDurable || !_device.WritesThrough)
            return false;
        request.Step = BlockStep.Sync;
        return true;
    }

    private static uint Checked(BlockRequest request, int result) =>
        result >= 0 ? (uint)result : throw new LinuxException(request.Step.ToString().ToLowerInvariant(), -result);

    private void Answer(BlockRequest request, VirtioBlkStatus status, uint written)
    {
        DetachedChain chain = request.Chain!;
        request.Chain = null;
        _free.Push(request);
        _queue.Complete(chain, _device.Answer(_queue.Index, chain, status, written));
        if (request.Bounces && _lane.Leave() is { } next)
            Continue(next);
    }

    /// <summary>Hands over what was prepared. When the kernel refuses for good the requests are given back, and the failure is that of the queue.</summary>
    private void Submit()
    {
        try
        {
            _ring.Submit();
        }
        catch (LinuxException)
        {
            while (_ring.TryWithdraw(out int place))
                Answer(_requests[place]!, VirtioBlkStatus.IoError, 0);
            throw;
        }
    }

    /// <summary>
    /// The ring was stopped by force, with requests in the kernel that cannot be called back. Their chains keep the guest's memory until the kernel has let go of it.
    /// </summary>
    private async Task FinishAloneAsync()
    {
        foreach (BlockRequest waiting in _lane.Close())
            waiting.Chain!.Complete(0);
        while (_ring.TryWithdraw(out int place))
            _requests[place]!.Chain!.Complete(0);
        while (_ring.InFlight != 0)
        {
            while (_ring.TryTake(out int place, out _))
                _requests[place]!.Chain!.Complete(0);
            await Task.Delay(_pauseAlone).ConfigureAwait(false);
        }

        _ring.Dispose();
    }
}
