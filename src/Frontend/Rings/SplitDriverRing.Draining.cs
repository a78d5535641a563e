using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

// What the device gives back.
internal sealed partial class SplitDriverRing
{
    /// <summary>Collects completions until there are no more, the span is full, or the device broke a rule.</summary>
    internal int Drain(Span<DriverCompletion> completions, int inFlight, ref DriverFault fault)
    {
        if (fault.Kind != VirtqueueFault.None)
        {
            return 0;
        }

        // It cannot have done with more than it was shown.
        inFlight -= (ushort)(_stagedAvailableIndex - _publishedAvailableIndex);
        return _inOrder is null ? DrainUnordered(completions, inFlight, ref fault) : DrainInOrder(_inOrder, completions, inFlight, ref fault);
    }

    private int DrainInOrder(ushort[] order, Span<DriverCompletion> completions, int inFlight, ref DriverFault fault)
    {
        int count = 0;
        while (count < completions.Length)
        {
            int taken = _batchLeft > 0 ? TakeOfBatch(order, completions[count..]) : 0;
            if (taken == 0)
            {
                if (_nextUsed == _cachedUsedIndex && !RefreshUsed(inFlight - count, ref fault))
                {
                    break;
                }

                taken = TakeEach(order, completions[count..]);
                if (taken == 0 && !TryOpenBatch(order, ref fault))
                {
                    break;
                }
            }

            count += taken;
        }

        return count;
    }

    /// <summary>Takes the oldest requests as long as the element of each names it.</summary>
    private int TakeEach(ushort[] order, Span<DriverCompletion> completions)
    {
        SplitRing ring = _ring;
        DriverDescriptors.Cursor descriptors = _descriptors.Open();
        uint oldest = _oldest;
        uint next = _nextUsed;
        int most = Math.Min(completions.Length, (ushort)(_cachedUsedIndex - next));
        int count = 0;
        for (; count < most; count++)
        {
            ulong element = ring.ReadUsedElement(next + (uint)count);
            if ((uint)element != order[(oldest + (uint)count) & ring.Mask] || !descriptors.TryRelease((uint)element, out DriverRequest request))
            {
                break;
            }

            completions[count] = request.Complete((uint)(element >> 32));
        }

        descriptors.Close();
        _oldest = (ushort)(oldest + (uint)count);
        _nextUsed = (ushort)(next + (uint)count);
        return count;
    }

    /// <summary>
    /// One element may stand for a batch, named by its last request; the requests before it count as used completely (virtio 1.2, 2.7.9).
    /// The device moves on in the used ring by the size of the batch.
    /// </summary>
    private bool TryOpenBatch(ushort[] order, ref DriverFault fault)
    {
        ulong element = _ring.ReadUsedElement(_nextUsed);
        int most = (ushort)(_cachedUsedIndex - _nextUsed);
        int place = most - 1;
        while (place >= 0 && order[(ushort)(_oldest + place) & _ring.Mask] != (uint)element)
        {
            place--;
        }

        _batchLeft = place + 1;
        _batchLength = (uint)(element >> 32);
        if (place < 0)
        {
            fault.Set(
                VirtqueueFault.UnknownCompletion,
                string.Create(CultureInfo.InvariantCulture, $"used element {_nextUsed}: id {(uint)element} is not one of the {most} oldest requests in flight"));
        }

        return place >= 0;
    }

    private int TakeOfBatch(ushort[] order, Span<DriverCompletion> completions)
    {
        DriverDescriptors.Cursor descriptors = _descriptors.Open();
        int count = Math.Min(completions.Length, _batchLeft);
        for (int i = 0; i < count; i++)
        {
            _ = descriptors.TryRelease(order[(ushort)(_oldest + i) & _ring.Mask], out DriverRequest request);
            completions[i] = i + 1 == _batchLeft ? request.Complete(_batchLength) : request.CompleteWhole();
        }

        descriptors.Close();
        _batchLeft -= count;
        _oldest += (ushort)count;
        _nextUsed += (ushort)count;
        return count;
    }

    private int DrainUnordered(Span<DriverCompletion> completions, int inFlight, ref DriverFault fault)
    {
        if (_nextUsed == _cachedUsedIndex && !RefreshUsed(inFlight, ref fault))
        {
            return 0;
        }

        SplitRing ring = _ring;
        UnshownRequests? unshown = MarkUnshown();
        DriverDescriptors.Cursor descriptors = _descriptors.Open();
        ushort next = _nextUsed;
        int most = Math.Min(completions.Length, (ushort)(_cachedUsedIndex - next));
        ulong element = 0;
        int count = 0;
        for (; count < most; count++)
        {
            element = ring.ReadUsedElement((uint)(next + count));
            if (unshown is not null && unshown.Has((uint)element))
            {
                break;
            }

            if (!descriptors.TryRelease((uint)element, out DriverRequest request))
            {
                break;
            }

            completions[count] = request.Complete((uint)(element >> 32));
        }

        descriptors.Close();
        ForgetUnshown(unshown);
        _nextUsed = (ushort)(next + count);
        if (count < most)
        {
            SetUnknown((uint)element, ref fault);
        }

        return count;
    }

    /// <summary>The requests that were written since the last publication; null, as nearly always, when there is none.</summary>
    private UnshownRequests? MarkUnshown()
    {
        if (!HasStaged)
        {
            return null;
        }

        for (ushort index = _publishedAvailableIndex; index != _stagedAvailableIndex; index++)
        {
            _unshown.Add(_offered[index & _ring.Mask]);
        }

        return _unshown;
    }

    private void ForgetUnshown(UnshownRequests? unshown)
    {
        for (ushort index = _publishedAvailableIndex; unshown is not null && index != _stagedAvailableIndex; index++)
        {
            unshown.Remove(_offered[index & _ring.Mask]);
        }
    }

    private bool RefreshUsed(int inFlight, ref DriverFault fault)
    {
        ushort index = _ring.ReadUsedIndex();
        int used = (ushort)(index - _nextUsed);
        if (used > inFlight)
        {
            fault.Set(
                VirtqueueFault.IndexRunaway,
                string.Create(CultureInfo.InvariantCulture, $"used index {index} is {used} ahead of {_nextUsed}, but the device was shown only {inFlight} requests that it has not used"));
            return false;
        }

        _cachedUsedIndex = index;
        return used != 0;
    }

    private void SetUnknown(uint id, ref DriverFault fault) => fault.Set(
        VirtqueueFault.UnknownCompletion,
        string.Create(CultureInfo.InvariantCulture, $"used element {_nextUsed}: id {id} is not a request in flight that the device was shown (ring size {_ring.Size})"));
}
