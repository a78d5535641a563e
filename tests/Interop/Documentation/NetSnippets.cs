using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The code of docs/performance.md, word for word.</summary>
public sealed class NetSnippets
{
    [Fact]
    public async Task Long_packets_are_built_where_they_are_read()
    {
        await using NetLoopback net = await NetLoopback.StartAsync();
        byte[] header = [.. Enumerable.Range(0, 54).Select(i => (byte)i)];
        byte[] payload = new byte[1446];
        Random.Shared.NextBytes(payload);

        bool[] filled = new bool[net.Sender.PlaceCount];
        PacketBuffer[] packets = new PacketBuffer[32];
        new PacketPool(32).RentBurst(packets);
        for (byte turn = 0; turn < 20; turn++)
        {
            header[0] = turn;

            Send(net.Sender, filled, header, payload).Should().Be(32);

            int received = 0;
            await Eventually.TrueAsync(() => (received += net.Port.DequeueBurst(packets.AsSpan(received))) == 32);
            packets.Should().AllSatisfy(packet => packet.Data.ToArray().Should().Equal([.. header, .. payload]));
        }

        filled.Should().AllBeEquivalentTo(true);
    }

    private static int Send(NetSender sender, bool[] filled, byte[] header, byte[] payload)
    {
        // snippet: build
        using OutgoingBurst burst = sender.BeginBurst(32);
        for (int i = 0; i < burst.Count; i++)            // fewer than 32 when the device is behind
        {
            if (!filled[burst.PlaceOf(i)])
            {
                burst.Write(i, header.Length, payload);
                filled[burst.PlaceOf(i)] = true;
            }

            burst.Write(i, 0, header);
            burst.SetLength(i, header.Length + payload.Length);
        }

        burst.Send(burst.Count);

        // end
        return burst.Count;
    }
}
