using Vhost.Backend;
using Vhost.Protocol;

namespace PacketLoopback;

/// <summary>The device's side: whatever comes from the guest goes back to it.</summary>
internal static class Echo
{
    internal static void Run(NetPort port, CancellationToken stop)
    {
        // Twice as many as a burst: a packet that is longer than its buffer takes a further one from the pool.
        PacketPool pool = new(64);
        PacketBuffer[] packets = new PacketBuffer[32];
        pool.RentBurst(packets);
        while (!stop.IsCancellationRequested)
        {
            int count = port.DequeueBurst(packets); // copies out, never waits
            for (int sent = 0; sent < count && !stop.IsCancellationRequested;)
                sent += port.EnqueueBurst(packets.AsSpan(sent, count - sent)); // fewer when the guest has no room at present
            if (count == 0)
                Thread.Yield();
        }
    }
}
