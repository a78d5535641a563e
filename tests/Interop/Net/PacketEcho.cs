using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>Sends back what comes, through a line between the two workers.</summary>
/// <param name="packets">The most in the line.</param>
internal sealed class PacketEcho(int packets) : INetHandler
{
    private readonly PacketPool _pool = new(packets);
    private readonly ConcurrentQueue<PacketBuffer> _line = new();
    private readonly PacketBuffer[] _burst = new PacketBuffer[32];

    public void FromGuest(NetPort port)
    {
        int rented = _pool.RentBurst(_burst);
        int count;
        while ((count = port.DequeueBurst(_burst.AsSpan(0, rented))) > 0)
        {
            for (int i = 0; i < count; i++)
                _line.Enqueue(_burst[i]);
            _pool.ReturnBurst(_burst.AsSpan(count, rented - count));
            rented = _pool.RentBurst(_burst);
        }

        _pool.ReturnBurst(_burst.AsSpan(0, rented));
        port.RequestToGuest();
    }

    /// <summary>What finds no room waits for it.</summary>
    public void ToGuest(NetPort port)
    {
        while (_line.TryPeek(out PacketBuffer? packet) && port.EnqueueBurst([packet]) == 1)
        {
            _line.TryDequeue(out _);
            _pool.Return(packet);
        }
    }
}
