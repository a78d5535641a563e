using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The code about packets of docs, word for word.</summary>
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

    [Fact]
    public async Task A_client_goes_on_with_the_next_back_end()
    {
        await using NetSuccession lives = await NetSuccession.StartAsync(listens: false);
        await lives.Client.DisposeAsync();
        string socketPath = lives.SocketPath;

        // snippet: reconnect
        NetClientOptions options = new() { Reconnect = new ReconnectPolicy { Delay = TimeSpan.FromSeconds(1), Limit = TimeSpan.FromMinutes(5) } };
        await using NetClient net = await NetClient.ConnectAsync(socketPath, options);
        net.ConnectionLost += (_, _) => Console.WriteLine("nobody is there");
        net.Reconnected += (_, _) => Console.WriteLine($"back-end number {net.Reconnections + 1}");

        // end
        await lives.EndAsync();
        lives.Begin();
        await Eventually.TrueAsync(() => net.Reconnections == 1);
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
