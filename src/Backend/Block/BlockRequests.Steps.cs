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
        return request;
    }

    private BlockRequest Make() => _requests[_made] = new BlockRequest(_made++);

    private void BeginTransfer(in DescriptorChain chain, BlockStep step, ulong offset, uint length, uint done, bool durable = false)
    {
        BlockRequest request = Begin(chain, step);
        request.BeginData(offset, length, done);
        request.IsDurable = durable;
        Continue(request);
    }

    private void Continue(BlockRequest request)
    {
        switch (request.Step)
        {
            case BlockStep.Read:
                _ring.Read(request.Place, request.Offset + request.Done, request.Remaining());
                break;
            case BlockStep.Write:
                _ring.Write(request.Place, request.Offset + request.Done, request.Remaining(), request.IsDurable);
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
        uint asked = request.Length - request.Done;
        bool end = read == asked || _file.IsEnd(request.Offset + request.Done, read, asked);
        request.Done += read;
        if (!end)
            return true;
        if (read == asked)
            return false;
        request.Remaining().Fill(0); // what lies behind the end of the file
        return false;
    }

    private bool TryChangeOn(BlockRequest request, int result)
    {
        if (result < 0 && FileStorage.IsUnsupported(-result))
        {
            // Giving space back is a wish; zeroes are not.
            if (request.Step == BlockStep.WriteZeroes)
                _file.WriteZeroesByHand(SectorMath.ToBytes(request.Range.Sector), SectorMath.ToBytes(request.Range.SectorCount));
        }
        else
        {
            Checked(request, result);
        }

        return request.NextRange() || TrySync(request);
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
        _queue.Complete(chain, _device.Answer(_queue.Index, chain.Writable, status, written));
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
