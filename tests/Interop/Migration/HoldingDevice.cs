using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests.Migration;

/// <summary>Answers some requests and holds all others until it is told; a request is eight bytes that say which it is, and maybe some to write it to. Counts who was executed.</summary>
internal sealed class HoldingDevice : ISuspendableDevice
{
    private readonly ConcurrentQueue<(ulong Token, DetachedChain Chain)> _held = new();

    /// <summary>Requests to answer at once.</summary>
    internal int Answers { get; set; } = int.MaxValue;

    /// <summary>Of the requests that are held so many cannot be called back any more.</summary>
    internal int Begun { get; init; }

    /// <summary>Gives up nothing when a queue is suspended.</summary>
    internal bool IsDeaf { get; init; }

    /// <summary>Requests in the order in which they came.</summary>
    internal ConcurrentQueue<ulong> Seen { get; } = new();

    internal int Suspensions { get; private set; }

    public int QueueCount => 1;

    public VirtioFeatures Features => VirtioFeatures.Version1 | VirtioFeatures.RingPacked | VirtioFeatures.InOrder | VirtioFeatures.EventIndex;

    public void Process(DeviceVirtqueue queue)
    {
        while (queue.TryPop(out DescriptorChain chain))
        {
            chain.Readable.TryRead(out ulong token);
            Seen.Enqueue(token);
            chain.Writable.TryWrite(token);
            if (Seen.Count > Answers)
                _held.Enqueue((token, chain.Detach()));
            else
                queue.Complete(chain, Math.Min(chain.Writable.Length, sizeof(ulong)));
        }
    }

    public void SuspendQueue(int queue)
    {
        Suspensions++;
        for (int left = IsDeaf ? 0 : _held.Count; left > 0 && _held.TryDequeue(out (ulong Token, DetachedChain Chain) held); left--)
        {
            if (left <= Begun)
                _held.Enqueue(held);
            else
                held.Chain.Leave();
        }
    }

    /// <summary>Completes what is held, the last first.</summary>
    internal void CompleteHeld()
    {
        foreach ((ulong _, DetachedChain chain) in _held.Reverse())
            chain.Complete(Math.Min(chain.Writable.Length, sizeof(ulong)));
        _held.Clear();
    }

    internal void LeaveOne()
    {
        if (_held.TryPeek(out (ulong Token, DetachedChain Chain) held))
            held.Chain.Leave();
    }
}
