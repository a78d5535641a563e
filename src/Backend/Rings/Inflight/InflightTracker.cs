using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Notes which requests of one queue the device has, so that the next back-end can go on when this one is killed: a request is noted before the device gets it, and struck out
/// after the driver has been shown its completion. What the last back-end left is found when the queue starts, and is handed out again before anything new.
/// </summary>
/// <remarks>
/// <para>Nothing is read back while the queue runs: what the part says is known here, and the front-end could have changed it.</para>
/// <para>Threading: the worker of the queue.</para>
/// </remarks>
internal abstract class InflightTracker(InflightPart part) : IDisposable
{
    private readonly List<ushort> _staged = [];

    /// <summary>Requests that the last back-end left, the oldest first, and how many of them were fetched again.</summary>
    private readonly List<ushort> _recovered = [];
    private int _nextRecovered;

    /// <summary>Requests that the last back-end left and that were not fetched again yet.</summary>
    internal int Waiting => _recovered.Count - _nextRecovered;

    /// <summary>Requests that the last back-end left.</summary>
    internal int RecoveredCount => _recovered.Count;

    /// <summary>What the last back-end left cannot be of this ring, and was thrown away.</summary>
    internal bool IsDiscarded { get; private protected set; }

    /// <summary>Entries of requests that cannot be of this ring: each was thrown away alone.</summary>
    internal int BadCount { get; private protected set; }

    protected InflightPart Part { get; } = part;

    /// <summary>What the next request is numbered with: requests are handed out again in this order.</summary>
    protected ulong NextNumber { get; set; }

    /// <summary>Entries of requests that were completed and are not shown to the driver yet, in the order in which it will see them.</summary>
    protected ReadOnlySpan<ushort> Staged => CollectionsMarshal.AsSpan(_staged);

    /// <summary>Fetches requests again that the last back-end left, as many as fit.</summary>
    /// <param name="batch">Where they go.</param>
    /// <param name="refused">The id of one that comes next and is refused: its buffers are not, or not any more, what they must be. It is left no longer. One whose memory has not arrived waits.</param>
    /// <returns>False when one is refused, which happens only while nothing waits in the batch before it.</returns>
    internal bool TryFetch(ChainBatch batch, out ushort refused)
    {
        for (; !batch.IsFull && Waiting > 0; _nextRecovered++)
        {
            ushort name = _recovered[_nextRecovered];
            if (FetchAgain(name, batch) == VirtqueueFault.None)
                continue;
            if (batch.HasMissed)
                break;
            refused = IdOf(name);
            if (batch.Count > 0 || batch.Window.HasAbsent)
                return true;
            _recovered.RemoveAt(_nextRecovered);
            return false;
        }

        refused = 0;
        return true;
    }

    /// <summary>So many that were fetched again last are as if they had not been.</summary>
    internal void Unfetch(int count) => _nextRecovered -= count;

    /// <summary>The device gets a request for the first time.</summary>
    internal abstract void Taken(in FetchedChain chain);

    /// <summary>The device gives back, untouched, the request that it got last.</summary>
    internal abstract void GivenBack(in FetchedChain chain);

    /// <summary>The device is done with a request.</summary>
    internal void Completed(ushort id) => _staged.Add(EntryOf(id));

    /// <summary>The driver is about to see what was completed.</summary>
    internal abstract void Publishing();

    /// <summary>The driver sees what was completed.</summary>
    internal void Published()
    {
        Part.Stored?.Invoke();
        StrikeOut();
        _staged.Clear();
    }

    public void Dispose() => Part.Dispose();

    /// <summary>The entry of a request that is being completed; a driver may use its id again from now on.</summary>
    protected abstract ushort EntryOf(ushort id);

    /// <summary>The id of a request that the last back-end left.</summary>
    protected abstract ushort IdOf(ushort name);

    /// <summary>Strikes out what was staged.</summary>
    protected abstract void StrikeOut();

    /// <summary>Adds a request that the last back-end left to a batch.</summary>
    protected abstract VirtqueueFault FetchAgain(ushort name, ChainBatch batch);

    /// <summary>Puts what the last back-end left in order.</summary>
    protected void Recover(List<(ulong Number, ushort Name)> left)
    {
        left.Sort();
        foreach ((ulong number, ushort name) in left)
        {
            _recovered.Add(name);
            NextNumber = unchecked(number + 1);
        }
    }
}
