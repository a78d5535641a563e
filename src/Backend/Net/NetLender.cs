using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The loans of one queue: the objects that stand for them, and how many are out. Loans may outlive their queue; the next one has a lender of its own, since a thread that
/// is held up inside of the old one may still take from there.
/// </summary>
internal sealed class NetLender(DeviceVirtqueue queue) : ILender
{
    private LentBufferStack _returned;
    private LentBuffer? _free;
    private int _lent;

    /// <summary>Packets that are lent at present.</summary>
    internal int Lent => Volatile.Read(ref _lent);

    /// <summary>An object for a new loan. On the thread that is inside the queue.</summary>
    internal LentChain Take()
    {
        _free ??= _returned.TakeAll();
        LentBuffer chain = _free ?? new LentChain(this);
        _free = chain.Below;
        chain.Below = null;
        Interlocked.Increment(ref _lent);
        return (LentChain)chain;
    }

    /// <inheritdoc/>
    public void TakeBackSoon() => queue.Wake?.Invoke();

    /// <summary>A loan has ended. Any thread.</summary>
    internal void Return(LentChain chain)
    {
        Interlocked.Decrement(ref _lent);
        _returned.Push(chain);
    }
}

/// <summary>A chain of the guest that is lent.</summary>
internal sealed class LentChain(NetLender lender) : LentBuffer
{
    private DetachedChain? _chain;
    private uint _header;

    internal override GuestBuffers Bytes => _chain!.Readable.Slice(_header);

    internal void Hold(DetachedChain chain, uint headerLength)
    {
        _chain = chain;
        _header = headerLength;
    }

    internal override ILender Owner => lender;

    protected override void GiveBack(bool tell)
    {
        DetachedChain chain = _chain!;
        _chain = null;
        lender.Return(this);
        chain.CompleteQuietly(0);
        if (tell)
            lender.TakeBackSoon();
    }
}
