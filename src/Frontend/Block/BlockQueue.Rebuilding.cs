using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>A ring that is made anew for the next back-end, because nobody knows which requests the lost one had taken.</summary>
public sealed partial class BlockQueue
{
    private readonly OutstandingRequests? _outstanding;

    /// <summary>What the lost back-end had answered, and the driver had not collected when the ring was made anew.</summary>
    private readonly Queue<BlockCompletion> _collected = new();
    private bool _isDisarmed;

    /// <summary>The ring is being made anew.</summary>
    private bool _rebuilds;

    /// <summary>
    /// Makes the ring anew, and submits again what is outstanding, in order. The lost back-end must not touch the ring any more, and the next one not yet. Any thread: one that polls the queue
    /// waits meanwhile.
    /// </summary>
    /// <returns>How many requests were submitted again.</returns>
    /// <exception cref="TimeoutException">A thread is inside the queue and does not leave.</exception>
    internal int Rebuild()
    {
        // Closing has either seen this, or is seen here.
        Volatile.Write(ref _rebuilds, true);
        try
        {
            if (!TryBar(Rebuilt))
                throw new TimeoutException($"Queue {Index}: the thread that uses it does not leave it.");
            if ((Volatile.Read(ref _barriers) & Closed) != 0)
                return 0;
            CollectAnswers();
            return SubmitAgain();
        }
        finally
        {
            Interlocked.And(ref _barriers, ~Rebuilt);
            Volatile.Write(ref _rebuilds, false);
        }
    }

    /// <summary>What reached the used ring is not submitted again.</summary>
    private void CollectAnswers()
    {
        for (int count = _ring.Drain(_drained); count > 0; count = _ring.Drain(_drained))
        {
            foreach (DriverCompletion done in _drained.AsSpan(0, count))
                _collected.Enqueue(Complete(done));
        }

        if (_ring.Fault != VirtqueueFault.None)
            Fail(new VirtqueueException(Index, _ring.Fault, _ring.FaultDetail ?? "no detail"));
    }

    private int SubmitAgain()
    {
        _ring.Reset();
        if (_isDisarmed)
            _ring.DisarmCall();
        int count = 0;
        foreach (int slot in _outstanding!.InOrder(_expected, Free))
        {
            _slots.TakeStatus(slot);
            if (_outstanding[slot].IsRepeatable && TrySubmitAgain(slot, _outstanding[slot]))
            {
                count++;
                continue;
            }

            _expected[slot] = Free;
            _collected.Enqueue(new BlockCompletion(slot, VirtioBlkStatus.IoError));
        }

        _ring.Publish();
        return count;
    }

    /// <summary>There is room: it fitted in before.</summary>
    private bool TrySubmitAgain(int slot, OutstandingRequests.Entry request)
    {
        if (request.Buffers == 0)
            return TrySubmitPlain(slot, request.Header, request.Length, request.DeviceWrites);
        _slots.WriteHeader(slot, request.Header);
        ReadOnlySpan<GuestBuffer> all = request.Gathered.AsSpan(0, request.Buffers);
        return _ring.TrySubmit(all[..request.ReadableBuffers], all[request.ReadableBuffers..], (ulong)slot);
    }

    private int TakeCollected(Span<BlockCompletion> completions)
    {
        int count = 0;
        while (count < completions.Length && _collected.TryDequeue(out BlockCompletion completion))
            completions[count++] = completion;
        return count;
    }
}
