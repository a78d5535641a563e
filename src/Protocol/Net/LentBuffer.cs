namespace Vhost.Protocol;

/// <summary>What stands behind a <see cref="LentPacket"/>, pooled by whoever lends. It knows whether it is lent, to which of its users, and who reads at present.</summary>
internal abstract class LentBuffer
{
    private const int TurnShift = 16;
    private const long Holders = (1L << TurnShift) - 1;

    /// <summary>High: how often it was released. Low: 0 not lent, 1 lent, n + 1 lent and read by n threads.</summary>
    private long _state;

    /// <summary>The one below on a <see cref="LentBufferStack"/>.</summary>
    internal LentBuffer? Below { get; set; }

    /// <summary>The packet without its header; only between <see cref="Enter"/> and <see cref="Leave"/>.</summary>
    internal abstract GuestBuffers Bytes { get; }

    internal static InvalidOperationException Released() => new("The lent packet was released before, or is none.");

    /// <summary>Lends the buffer, which nobody has at present.</summary>
    internal LentPacket Lend(int length, ulong offload, ushort checksumOffset)
    {
        long turn = _state >> TurnShift;
        Volatile.Write(ref _state, (turn << TurnShift) | 1);
        return new LentPacket(this, turn, length, offload, checksumOffset);
    }

    internal bool IsLent(long turn)
    {
        long state = Volatile.Read(ref _state);
        return state >> TurnShift == turn && (state & Holders) != 0;
    }

    /// <summary>Keeps the buffer from being released until <see cref="Leave"/>.</summary>
    /// <exception cref="InvalidOperationException">It was released.</exception>
    internal void Enter(long turn)
    {
        long state = Volatile.Read(ref _state);
        while (true)
        {
            if (state >> TurnShift != turn || (state & Holders) == 0)
                throw Released();
            long seen = Interlocked.CompareExchange(ref _state, state + 1, state);
            if (seen == state)
                return;
            state = seen;
        }
    }

    internal void Leave() => Interlocked.Decrement(ref _state);

    /// <summary>Ends the loan, once.</summary>
    /// <exception cref="InvalidOperationException">It was released before, or is being read.</exception>
    /// <param name="turn">Which loan.</param>
    /// <param name="tell">Whether its owner hears of it at once; otherwise <see cref="Owner"/> is to be told later.</param>
    internal void Release(long turn, bool tell)
    {
        long lent = (turn << TurnShift) | 1;
        long seen = Interlocked.CompareExchange(ref _state, (turn + 1) << TurnShift, lent);
        if (seen == lent)
            GiveBack(tell);
        else
            throw seen >> TurnShift == turn ? new InvalidOperationException("The lent packet is being read by another thread.") : Released();
    }

    /// <summary>Who lends, and takes back what was released once he is told.</summary>
    internal abstract ILender Owner { get; }

    /// <summary>The loan has ended. Any thread, once for each loan.</summary>
    /// <param name="tell">Tell the owner.</param>
    protected abstract void GiveBack(bool tell);
}

/// <summary>Whoever lends packets.</summary>
internal interface ILender
{
    /// <summary>Loans have ended. Any thread.</summary>
    void TakeBackSoon();
}

/// <summary>Buffers that came back, put down by any thread and taken up all at once.</summary>
internal struct LentBufferStack
{
    private LentBuffer? _top;

    internal readonly bool IsEmpty => Volatile.Read(in _top) is null;

    internal void Push(LentBuffer buffer)
    {
        LentBuffer? top = Volatile.Read(ref _top);
        while (true)
        {
            buffer.Below = top;
            LentBuffer? seen = Interlocked.CompareExchange(ref _top, buffer, top);
            if (ReferenceEquals(seen, top))
                return;
            top = seen;
        }
    }

    /// <summary>The one that was put down last, with the others below it; null when there is none.</summary>
    internal LentBuffer? TakeAll() => IsEmpty ? null : Interlocked.Exchange(ref _top, null);
}
