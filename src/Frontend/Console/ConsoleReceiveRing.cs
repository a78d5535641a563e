using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>A queue on which the device sends bytes. All buffers that hold none are at the device.</summary>
internal sealed class ConsoleReceiveRing : ConsoleRing
{
    internal ConsoleReceiveRing(int index, GuestMemory memory, ulong at, ConsoleClientOptions options, VirtioFeatures features)
        : base(index, memory, at, options, features)
    {
    }

    /// <summary>The ring was started: the device gets all buffers.</summary>
    internal void Fill()
    {
        for (uint slot = 0; slot < Size; slot++)
            Offer(slot, SlotSize, deviceWrites: true);
        Publish();
    }

    /// <summary>Waits for a buffer, and gives it to the device again.</summary>
    /// <param name="destination">At least as long as a buffer.</param>
    /// <param name="stop">Ends the wait.</param>
    /// <returns>Bytes, perhaps none.</returns>
    internal async ValueTask<int> ReceiveAsync(Memory<byte> destination, CancellationToken stop)
    {
        DriverCompletion done;
        while (!TryCollect(out done))
            await WaitForCallAsync(stop).ConfigureAwait(false);
        int length = (int)done.BytesWritten;
        Copy((uint)done.Token, destination.Span[..length]);
        Offer((uint)done.Token, SlotSize, deviceWrites: true);
        Publish();
        if (length == 0)
            await Task.Yield(); // a device may go on like this for ever
        return length;
    }
}
