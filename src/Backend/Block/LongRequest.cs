using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A request that is longer than storage without a ring of the kernel is asked for at once: it goes on piece by piece, one in each turn of its queue, which takes nothing else
/// meanwhile. A driver may name four gigabytes, and others wait for the worker.
/// </summary>
/// <remarks>Threading: the queue's worker.</remarks>
internal sealed class LongRequest(BlockDevice device, DeviceVirtqueue queue) : IQueueWork
{
    private readonly BlockRequest _request = new(place: 0);

    public EventNotifier? Completed => null;

    public bool IsIdle => _request.Chain is null;

    /// <summary>Begins a request, which was checked, while none goes on.</summary>
    internal void Begin(in DescriptorChain chain, BlockStep step, ulong offset, uint length)
    {
        _request.Chain = chain.Detach();
        _request.Step = step;
        _request.BeginData(offset, length, done: 0);
    }

    public void Advance()
    {
        if (_request.Chain is null)
            return;
        try
        {
            MoveOn();
            if (_request.Done == _request.Length)
                Answer(VirtioBlkStatus.Ok, _request.Step == BlockStep.Read ? _request.Length : 0);
        }
        catch (Exception e)
        {
            // Whatever it is: the chain has to be given back, or the guest's memory would stay mapped for good.
            device.StorageFailed(e);
            Answer(VirtioBlkStatus.IoError, 0);
        }
    }

    public void Leave()
    {
        _request.Chain?.Complete(0);
        _request.Chain = null;
    }

    private void MoveOn()
    {
        ulong offset = _request.Offset + _request.Done;
        GuestBuffers rest = _request.Remaining();
        GuestBuffers piece = rest.Slice(0, Math.Min(rest.Length, BlockTurn.MostAtOnce));
        if (_request.Step == BlockStep.Read)
            device.Storage.Read(offset, piece);
        else
            device.Storage.Write(offset, piece);
        _request.Done += piece.Length;
        if (_request.Step == BlockStep.Write && _request.Done == _request.Length && device.WritesThrough)
            device.Storage.Flush();
    }

    private void Answer(VirtioBlkStatus status, uint written)
    {
        DetachedChain chain = _request.Chain!;
        _request.Chain = null;
        queue.Complete(chain, device.Answer(queue.Index, chain, status, written));
    }
}
