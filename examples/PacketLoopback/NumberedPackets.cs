using System.Buffers.Binary;
using Vhost.Frontend;
using Vhost.Protocol;

namespace PacketLoopback;

/// <summary>The driver's side: sends packets that say their number, and looks at those that come back.</summary>
internal static class NumberedPackets
{
    private const int Length = 64;

    /// <summary>So many on their way at most, fewer than the rings hold: nothing is ever dropped.</summary>
    private const int Window = 128;

    internal static int Exchange(NetSender sender, NetReceiver receiver, int packets)
    {
        PacketPool pool = new(64);
        PacketBuffer[] outgoing = new PacketBuffer[32];
        pool.RentBurst(outgoing);
        LentPacket[] incoming = new LentPacket[32];
        int sent = 0;
        int received = 0;
        while (received < packets)
        {
            int burst = Math.Min(outgoing.Length, Math.Min(packets - sent, Window - (sent - received)));
            for (int i = 0; i < burst; i++)
                Number(outgoing[i], sent + i);
            if (burst > 0)
                sent += sender.SendBurst(outgoing.AsSpan(0, burst)); // fewer when there is no room at present
            int count = receiver.LendBurst(incoming); // read where they lie; their buffers go back once released, together
            for (int i = 0; i < count; i++)
                Check(incoming[i], received++);
            LentPacket.ReleaseBurst(incoming.AsSpan(0, count));
        }

        return received;
    }

    private static void Number(PacketBuffer packet, int number)
    {
        packet.Reset();
        BinaryPrimitives.WriteInt32BigEndian(packet.Append(Length), number);
    }

    private static void Check(LentPacket packet, int expected)
    {
        Span<byte> number = stackalloc byte[sizeof(int)];
        packet.CopyTo(number);
        int got = BinaryPrimitives.ReadInt32BigEndian(number);
        if (packet.Length != Length || got != expected)
            throw new InvalidOperationException($"Packet {expected} came back as {got} with {packet.Length} bytes.");
    }
}
