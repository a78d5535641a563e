using System.Buffers;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>A queue on which the device takes bytes.</summary>
internal sealed class ConsoleSendRing : ConsoleRing
{
    private readonly Stack<uint> _free;

    internal ConsoleSendRing(int index, GuestMemory memory, ulong at, ConsoleClientOptions options, VirtioFeatures features)
        : base(index, memory, at, options, features) => _free = new Stack<uint>(Enumerable.Range(0, Size).Select(slot => (uint)slot));

    /// <summary>Gives the device bytes, as soon as it has taken enough of those before.</summary>
    internal async ValueTask SendAsync(ReadOnlySequence<byte> bytes, CancellationToken stop)
    {
        while (!bytes.IsEmpty)
        {
            Collect();
            while (_free.Count == 0)
            {
                await WaitForCallAsync(stop).ConfigureAwait(false);
                Collect();
            }

            while (!bytes.IsEmpty && _free.TryPop(out uint slot))
                bytes = bytes.Slice(Put(slot, bytes));
            Publish();
        }
    }

    /// <summary>Waits until the device has taken everything.</summary>
    internal async ValueTask TakenAsync(CancellationToken stop)
    {
        Collect();
        while (InFlight > 0)
        {
            await WaitForCallAsync(stop).ConfigureAwait(false);
            Collect();
        }
    }

    private int Put(uint slot, ReadOnlySequence<byte> bytes)
    {
        int length = (int)Math.Min(SlotSize, bytes.Length);
        using IMemoryOwner<byte> copy = MemoryPool<byte>.Shared.Rent(length);
        Span<byte> span = copy.Memory.Span[..length];
        bytes.Slice(0, length).CopyTo(span);
        Copy(span, slot);
        Offer(slot, length, deviceWrites: false);
        return length;
    }

    private void Collect()
    {
        while (TryCollect(out DriverCompletion done))
            _free.Push((uint)done.Token);
    }
}
