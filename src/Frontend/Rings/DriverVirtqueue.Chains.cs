using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>How requests are written into the table, and how completions are checked against the private record.</summary>
public sealed partial class DriverVirtqueue
{
    private ushort WriteChain(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        int left = readable.Length + writable.Length;
        ushort index = 0;
        foreach (GuestBuffer buffer in readable)
        {
            index = WriteLink(buffer, DescriptorFlags.None, --left > 0);
        }

        foreach (GuestBuffer buffer in writable)
        {
            index = WriteLink(buffer, DescriptorFlags.Write, --left > 0);
        }

        return index;
    }

    private ushort WriteLink(in GuestBuffer buffer, DescriptorFlags flags, bool more)
    {
        ushort index = _descriptors.Take();
        ushort next = more ? _descriptors.NextFree : (ushort)0;
        _ring.WriteDescriptor(index, new VirtqueueDescriptor(buffer.Address.Value, buffer.Length, flags | (more ? DescriptorFlags.Next : 0), next));
        return index;
    }

    private ushort WriteIndirect(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable)
    {
        ushort index = _descriptors.Take();
        GuestBuffer table = _indirect!.Write(index, readable, writable);
        _ring.WriteDescriptor(index, new VirtqueueDescriptor(table.Address.Value, table.Length, DescriptorFlags.Indirect, 0));
        return index;
    }

    private bool RefreshUsed()
    {
        if (Fault != VirtqueueFault.None)
        {
            return false;
        }

        ushort index = _ring.ReadUsedIndex();
        int used = (ushort)(index - _nextUsed);
        if (used > InFlight)
        {
            Break(
                VirtqueueFault.IndexRunaway,
                string.Create(CultureInfo.InvariantCulture, $"used index {index} is {used} ahead of {_nextUsed}, but only {InFlight} requests are in flight"));
            return false;
        }

        _cachedUsedIndex = index;
        return used != 0;
    }

    private int TakeOne(uint id, uint length, Span<DriverCompletion> completions, int count)
    {
        if (id >= _ring.Size || !_descriptors.TryRelease((ushort)id, out ulong token, out uint writable))
        {
            Break(
                VirtqueueFault.UnknownCompletion,
                string.Create(CultureInfo.InvariantCulture, $"used element {_nextUsed}: id {id} is not a request in flight (ring size {Size})"));
            return count;
        }

        _nextUsed++;
        InFlight--;
        completions[count] = new DriverCompletion(token, Math.Min(length, writable), length > writable);
        return count + 1;
    }

    /// <summary>
    /// In-order rings: one element may stand for a batch, named by its last request; the requests before it count as used completely
    /// (virtio 1.2, 2.7.9). The device moves on in the used ring by the size of the batch.
    /// </summary>
    private int TakeBatch(uint id, uint length, Span<DriverCompletion> completions, int count)
    {
        ushort head = _inOrder![_oldest & _ring.Mask];
        if (id == head)
        {
            _oldest++;
            _inBatch = false;
            return TakeOne(id, length, completions, count);
        }

        if (!_inBatch && !IsLaterInBatch(id))
        {
            Break(
                VirtqueueFault.UnknownCompletion,
                string.Create(CultureInfo.InvariantCulture, $"used element {_nextUsed}: id {id} is not one of the {(ushort)(_cachedUsedIndex - _nextUsed)} oldest requests in flight"));
            return count;
        }

        // The slots behind the element were not written: keep the element and meet it again for the next request of the batch.
        _inBatch = true;
        _batchElement = ((ulong)length << 32) | id;
        _oldest++;
        _ = _descriptors.TryRelease(head, out ulong token, out uint writable);
        InFlight--;
        _nextUsed++;
        completions[count] = new DriverCompletion(token, writable, LengthClamped: false);
        return count + 1;
    }

    private bool IsLaterInBatch(uint id)
    {
        int batch = (ushort)(_cachedUsedIndex - _nextUsed);
        for (int i = 1; i < batch; i++)
        {
            if (_inOrder![(ushort)(_oldest + i) & _ring.Mask] == id)
            {
                return true;
            }
        }

        return false;
    }

    private void Break(VirtqueueFault fault, string detail)
    {
        if (Fault == VirtqueueFault.None)
        {
            Fault = fault;
            FaultDetail = detail;
        }

        _cachedUsedIndex = _nextUsed;
    }
}
