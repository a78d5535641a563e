using System.Globalization;
using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Frontend;

// What the device gives back.
internal sealed partial class PackedDriverRing
{
    /// <summary>How many completions there were the last time that there were any. As many are expected the next time: lines behind these are still the device's, which would have to fetch them back.</summary>
    private int _lastDrained;

    /// <summary>Collects completions until there are no more, the span is full, or the device broke a rule.</summary>
    internal int Drain(Span<DriverCompletion> completions, ref DriverFault fault)
    {
        if (fault.Kind != VirtqueueFault.None)
        {
            return 0;
        }

        return _inOrder is null ? DrainUnordered(completions, ref fault) : DrainInOrder(_inOrder, completions, ref fault);
    }

    private int DrainInOrder(ushort[] order, Span<DriverCompletion> completions, ref DriverFault fault)
    {
        int count = 0;
        while (count < completions.Length)
        {
            int taken = _batchId >= 0 ? TakeOfBatch(order, completions[count..], ref fault) : TakeEach(order, completions[count..]);
            if (taken == 0 && (fault.Kind != VirtqueueFault.None || !TryOpenBatch(order, ref fault)))
            {
                break;
            }

            count += taken;
        }

        return count;
    }

    /// <summary>Takes the oldest requests as long as the used descriptor of each names it.</summary>
    private int TakeEach(ushort[] order, Span<DriverCompletion> completions)
    {
        PackedRing ring = _ring;
        Buffer[] all = _buffers;
        PackedPosition at = _nextUsed;
        uint oldest = _oldest;
        int free = _free;
        int left = Shown;
        int count = 0;
        while (count < completions.Length)
        {
            PackedDescriptor used = ring.ReadUsedDescriptor(at.Index);
            ushort id = order[oldest];
            if (!at.IsUsed(used.Flags) || used.Id != id || all[id].Count == 0 || all[id].Count > left)
            {
                break;
            }

            ref Buffer held = ref all[id];
            completions[count++] = held.Request.Complete(UsedLength(used));
            at.Advance(held.Count);
            left -= held.Count;
            free += held.Count;
            held.Count = 0;
            _freeIds[_freeIdCount++] = id;
            oldest = Next(oldest);
        }

        _nextUsed = at;
        _oldest = oldest;
        _free = free;
        return count;
    }

    /// <summary>One used descriptor may stand for a batch, named by its last request (virtio 1.2, 2.8.9). False when there is none, or the device broke a rule.</summary>
    private bool TryOpenBatch(ushort[] order, ref DriverFault fault)
    {
        PackedDescriptor used = _ring.ReadUsedDescriptor(_nextUsed.Index);
        if (!_nextUsed.IsUsed(used.Flags))
        {
            return false;
        }

        // The oldest itself: it was not there yet when it was looked for.
        if (!IsInOrder(order, used.Id))
        {
            return Unknown(used.Id, ref fault);
        }

        _batchId = used.Id;
        _batchLength = UsedLength(used);
        return true;
    }

    private int TakeOfBatch(ushort[] order, Span<DriverCompletion> completions, ref DriverFault fault)
    {
        int left = Shown;
        int count = 0;
        while (count < completions.Length && _batchId >= 0)
        {
            ushort id = order[_oldest];
            ref Buffer held = ref _buffers[id];
            if (held.Count > left)
            {
                Unknown((ushort)_batchId, ref fault);
                break;
            }

            left -= held.Count;
            bool last = id == _batchId;
            completions[count++] = last ? held.Request.Complete(_batchLength) : held.Request.CompleteWhole();
            _batchId = last ? -1 : _batchId;
            _nextUsed.Advance(held.Count);
            _free += held.Count;
            held.Count = 0;
            _freeIds[_freeIdCount++] = id;
            _oldest = Next(_oldest);
        }

        return count;
    }

    /// <summary>Without WRITE the length means nothing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint UsedLength(in PackedDescriptor used) => used.Is(DescriptorFlags.Write) ? used.Length : 0;

    private static void PrefetchBatch(in PackedRing ring, PackedPosition at, int most)
    {
        if (at.IsUsed(ring.ReadUsedDescriptor(at.Index).Flags))
        {
            ring.PrefetchBehind(at.Index, (uint)most);
        }
    }

    private int DrainUnordered(Span<DriverCompletion> completions, ref DriverFault fault)
    {
        PrefetchBatch(_ring, _nextUsed, Math.Min(completions.Length, _lastDrained));
        int count = _stagedRequests == 0 ? DrainSingles(completions) : 0;
        if (count < completions.Length && _nextUsed.IsUsed(_ring.ReadUsedDescriptor(_nextUsed.Index).Flags))
        {
            count += DrainAny(completions[count..], ref fault);
        }

        _lastDrained = count > 0 ? count : _lastDrained;
        return count;
    }

    /// <summary>Collects requests of one descriptor each. Whatever is anything else, or wrong, is left for <see cref="DrainAny"/>. All requests were shown.</summary>
    private int DrainSingles(Span<DriverCompletion> completions)
    {
        int most = Math.Min(completions.Length, Shown);
        int count = 0;
        for (int straight = _nextUsed.Straight(most); straight > 0; straight = _nextUsed.Straight(most - count))
        {
            int drained = DrainStraight(completions.Slice(count, straight), _nextUsed);
            _nextUsed.Advance((uint)drained);
            _free += drained;
            count += drained;
            if (drained < straight)
            {
                break;
            }
        }

        return count;
    }

    /// <summary>Those on one turn of the ring: what makes one of them used is the same for all.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)] // a loop of its own, with the registers to itself
    private int DrainStraight(Span<DriverCompletion> completions, PackedPosition at)
    {
        PackedRing ring = _ring;
        Buffer[] all = _buffers;
        Span<ushort> freeIds = _freeIds.AsSpan(_freeIdCount);
        uint index = at.Index;
        int expected = at.UsedFlags;
        int count = 0;
        for (; count < completions.Length && count < freeIds.Length; count++)
        {
            PackedDescriptor used = ring.ReadUsedDescriptor(index + (uint)count);
            uint id = used.Id;
            if ((used.Flags & (PackedRingLayout.Available | PackedRingLayout.Used)) != expected || id >= (uint)all.Length || all[id].Count != 1)
            {
                break;
            }

            ref Buffer held = ref all[id];
            completions[count] = held.Request.Complete(UsedLength(used));
            held.Count = 0;
            freeIds[count] = (ushort)id;
        }

        _freeIdCount += count;
        return count;
    }

    /// <summary>Collects requests of any number of descriptors, some of which the device may not have been shown.</summary>
    private int DrainAny(Span<DriverCompletion> completions, ref DriverFault fault)
    {
        int left = Shown;
        int count = 0;
        int unknown = -1;
        UnshownRequests? unshown = MarkUnshown();
        while (count < completions.Length)
        {
            PackedDescriptor used = _ring.ReadUsedDescriptor(_nextUsed.Index);
            if (!_nextUsed.IsUsed(used.Flags))
            {
                break;
            }

            ushort id = used.Id;
            if (id >= (uint)_buffers.Length || _buffers[id].Count == 0 || _buffers[id].Count > left || (unshown is not null && unshown.Has(id)))
            {
                unknown = id;
                break;
            }

            ref Buffer held = ref _buffers[id];
            completions[count++] = held.Request.Complete(UsedLength(used));
            _nextUsed.Advance(held.Count);
            left -= held.Count;
            _free += held.Count;
            held.Count = 0;
            _freeIds[_freeIdCount++] = id;
        }

        ForgetUnshown(unshown);
        if (unknown >= 0)
        {
            Unknown((ushort)unknown, ref fault);
        }

        return count;
    }

    /// <summary>The requests that were written since the last publication; null, as nearly always, when there is none.</summary>
    private UnshownRequests? MarkUnshown()
    {
        foreach (ushort id in _stagedIds.AsSpan(0, _stagedRequests))
        {
            _unshown.Add(id);
        }

        return _stagedRequests == 0 ? null : _unshown;
    }

    private void ForgetUnshown(UnshownRequests? unshown)
    {
        foreach (ushort id in _stagedIds.AsSpan(0, _stagedRequests))
        {
            unshown!.Remove(id);
        }
    }

    private bool Unknown(ushort id, ref DriverFault fault)
    {
        fault.Set(
            VirtqueueFault.UnknownCompletion,
            string.Create(CultureInfo.InvariantCulture, $"used descriptor {_nextUsed.Index}: id {id} is not a request in flight that the device was shown (ring size {_ring.Size})"));
        return false;
    }

    /// <summary>Whether a request with this id is in flight, seen from the oldest one on.</summary>
    private bool IsInOrder(ushort[] order, ushort id)
    {
        if (id >= _buffers.Length || _buffers[id].Count == 0)
        {
            return false;
        }

        uint place = _oldest;
        do
        {
            if (order[place] == id)
            {
                return true;
            }

            place = Next(place);
        }
        while (place != _newest);
        return false;
    }
}
