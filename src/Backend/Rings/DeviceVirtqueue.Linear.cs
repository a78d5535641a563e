using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// Chains of one buffer, many in one pass over plain arrays and without the batch: what nearly all packets are. Whatever is taken is completed or given back before anything else is
/// done with the queue.
/// </summary>
public sealed partial class DeviceVirtqueue
{
    /// <summary>Requests that are taken in one pass.</summary>
    internal const int MostLinear = 64;

    private LinearChain[]? _linearChains;
    private uint[] _lengths = [];

    /// <summary>Of <see cref="LinearChains"/>, those that were taken and neither completed nor given back: none between calls.</summary>
    private int _linearTaken;

    /// <summary>
    /// Room to take requests into. The queue's own: a thread that is held up inside of one which the session has given up must never see addresses of the next one.
    /// </summary>
    internal LinearChain[] LinearChains => _linearChains ??= new LinearChain[MostLinear];

    /// <summary>Room for the bytes that were written to so many requests; what stands there stays when it grows. The queue's own, for the same reason.</summary>
    internal uint[] Lengths(int count)
    {
        if (_lengths.Length < count)
            Array.Resize(ref _lengths, count + MaxBurst);
        return _lengths;
    }

    /// <summary>Takes the next requests as long as each is one buffer in one region, for reading or for writing as wanted.</summary>
    /// <param name="chains">Filled from the start.</param>
    /// <param name="deviceWrites">Whether the buffers must be writable, or readable.</param>
    /// <param name="isOther">Whether they end before one that is of another kind or wrong, which <see cref="TakeBurst"/> then finds out.</param>
    /// <returns>How many.</returns>
    internal int TakeLinear(Span<LinearChain> chains, bool deviceWrites, out bool isOther)
    {
        isOther = true;
        if (_handed != _batch.Count || Fault != VirtqueueFault.None || _inflight is not null || _isAbandoned || _isSuspended)
        {
            _leaves = false;
            return 0;
        }

        int count = _split is not null
            ? _split.FetchLinear(ref _batch.Window, chains, deviceWrites, InFlight, out isOther)
            : _packed!.FetchLinear(ref _batch.Window, chains, deviceWrites, out isOther);
        InFlight += count;
        _linearTaken = count;
        Batches += count == 0 ? 0u : 1u;
        _leaves = false;
        return count;
    }

    /// <summary>Puts back those that were taken last, as if they had never been looked at.</summary>
    internal void GiveBackLinear(ReadOnlySpan<LinearChain> last)
    {
        _split?.Rewind(last.Length);
        _packed?.Rewind(last);
        InFlight -= last.Length;
        _linearTaken -= last.Length;
    }

    /// <summary>Puts back all that were taken, when something went wrong with them.</summary>
    internal void GiveBackLinear()
    {
        if (_linearTaken > 0)
            GiveBackLinear(LinearChains.AsSpan(0, _linearTaken));
    }

    /// <summary>Marks requests as done, in the order in which they were taken. The driver sees them at the next <see cref="Flush"/>.</summary>
    /// <param name="chains">The requests.</param>
    /// <param name="bytesWritten">For each of them; empty when nothing was written to any.</param>
    internal void CompleteLinear(ReadOnlySpan<LinearChain> chains, ReadOnlySpan<uint> bytesWritten)
    {
        _linearTaken = 0;
        if (_isAbandoned)
            return;
        if (_log is { } log)
            MarkLinear(log, chains, bytesWritten);
        if (_inOrder is not { IsEmpty: false })
            StageLinear(chains, bytesWritten);
        else
            CompleteBehindOthers(chains, bytesWritten);
    }

    private void StageLinear(ReadOnlySpan<LinearChain> chains, ReadOnlySpan<uint> bytesWritten)
    {
        bool asBatch = _inOrder is not null && bytesWritten.IsEmpty;
        if (_split is not null && !asBatch)
            _split.WriteLinear(chains, bytesWritten);
        else if (_split is not null)
            _split.WriteBatch(chains);
        else if (!asBatch)
            _packed!.WriteLinear(chains, bytesWritten, Streamed);
        else
            _packed!.WriteBatch(chains);
        _staged += chains.Length;
    }

    /// <summary>With IN_ORDER, while requests are out that were taken earlier.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void CompleteBehindOthers(ReadOnlySpan<LinearChain> chains, ReadOnlySpan<uint> bytesWritten)
    {
        foreach (LinearChain chain in chains)
            _inOrder!.Taken(chain.Id);
        for (int i = 0; i < chains.Length; i++)
            CompleteMarked(chains[i].Id, bytesWritten.IsEmpty ? 0 : bytesWritten[i]);
    }
}
