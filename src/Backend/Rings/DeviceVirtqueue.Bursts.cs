using System.Globalization;
using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Many requests in one call.</summary>
public sealed partial class DeviceVirtqueue
{
    /// <summary>The most requests that one <see cref="TakeBurst"/> takes.</summary>
    public const int MaxBurst = ChainBatch.Capacity;

    /// <summary>Takes the next requests, as many as are there. What was taken is completed by <see cref="Complete(in ChainBurst, ReadOnlySpan{uint})"/> or one by one, or given back.</summary>
    /// <param name="max">At most this many, from 1; never more than <see cref="MaxBurst"/> are taken.</param>
    /// <returns>The requests; fewer than <paramref name="max"/> does not mean that there are no more.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public ChainBurst TakeBurst(int max = MaxBurst)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(max);
        if ((_handed == _batch.Count && !FetchUnlessHeld()) || _isAbandoned)
        {
            return default;
        }

        int first = _handed;
        int count = Math.Min(max, _batch.Count - first);
        _handed += count;
        InFlight += count;
        NoteTaken(first, _handed);
        return new ChainBurst(this, _batch, first, count);
    }

    /// <summary>
    /// Sees to it that there is something to take, as far as there is anything, also while too much is detached: for a device that gives back at once what it takes now.
    /// </summary>
    internal bool FetchAnyway() => _handed != _batch.Count || Fetch();

    private void NoteTaken(int first, int end)
    {
        for (int i = first; _inOrder is not null && i < end; i++)
            _inOrder.Taken(_batch[i].Id);
        for (int i = first; _inflight is not null && i < end; i++)
            NoteTaken(i);
    }

    /// <summary>
    /// Takes further requests and makes them part of the burst that was taken last, for a device that needs more of them for one thing than one burst holds. Nothing
    /// of the burst may be completed yet.
    /// </summary>
    /// <returns>False when there are no more at present.</returns>
    internal bool TryExtend(ref ChainBurst burst)
    {
        if (_handed == _batch.Count)
        {
            if (Fault != VirtqueueFault.None)
                return false;
            if (_batch.IsExhausted)
            {
                Break(VirtqueueFault.ChainTooLong, string.Create(CultureInfo.InvariantCulture, $"buffers looked at for one packet: more than {_batch.MostBuffers}"));
                return false;
            }

            _batch.Extend();
            _leaves = false;
            if (!FetchMore())
            {
                LeaveFetched();
                return false;
            }
        }

        int before = _handed;
        int count = Math.Min(MaxBurst, _batch.Count - before);
        _handed += count;
        InFlight += count;
        NoteTaken(before, _handed);
        burst = burst.With(count);
        return true;
    }

    /// <summary>
    /// Puts back the requests that were taken last, as if they had never been looked at, for a device that turns out to need fewer.
    /// The next call takes them again. They must not be completed, detached or touched any more.
    /// </summary>
    /// <param name="count">How many of the last burst, counted from its end.</param>
    /// <exception cref="ArgumentOutOfRangeException">More than were taken last.</exception>
    public void GiveBack(int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Math.Min(_handed, InFlight - _staged));
        for (int i = 0; _inflight is not null && i < count; i++)
            NoteGivenBack(_handed - 1 - i);
        _handed -= count;
        InFlight -= count;
        _inOrder?.Untake(count);
    }

    /// <summary>Marks all requests of a burst as done, with nothing written. The driver sees them at the next <see cref="Flush"/>.</summary>
    /// <param name="burst">The requests; none of them completed before.</param>
    /// <exception cref="InvalidOperationException">More requests were completed than taken.</exception>
    public void Complete(in ChainBurst burst) => Complete(burst, []);

    /// <summary>Marks all requests of a burst as done. The driver sees them at the next <see cref="Flush"/>.</summary>
    /// <param name="burst">The requests; none of them completed before.</param>
    /// <param name="bytesWritten">For each request the bytes written to the start of its writable part; or empty, when nothing was written to any.</param>
    /// <exception cref="ArgumentException">The two have different lengths.</exception>
    /// <exception cref="InvalidOperationException">More requests were completed than taken.</exception>
    public void Complete(in ChainBurst burst, ReadOnlySpan<uint> bytesWritten)
    {
        if (bytesWritten.Length != burst.Count && !bytesWritten.IsEmpty)
        {
            throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"{bytesWritten.Length} lengths for a burst of {burst.Count} chains"), nameof(bytesWritten));
        }

        if (_inOrder is null && _inflight is null && _log is null && _split is not null && IsActive && burst.Count <= InFlight - _staged)
        {
            _split.Write(burst, bytesWritten);
            _staged += burst.Count;
            return;
        }

        for (int i = 0; i < burst.Count; i++)
        {
            Complete(burst.Fetched(i).Id, bytesWritten.IsEmpty ? 0 : bytesWritten[i]);
        }
    }
}
