using System.Diagnostics;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A stream of packets from one guest of a switch to another, with no more under way than there is room for.</summary>
internal static class SwitchTraffic
{
    private const int Window = 64;
    private const int Burst = 16;

    /// <summary>Sends and receives so many packets; each must arrive, in order and unchanged.</summary>
    /// <returns>How long that took.</returns>
    internal static async Task<TimeSpan> ExchangeAsync(SwitchStation from, SwitchStation to, int fromPort, int toPort, int packets)
    {
        MacAddress source = SwitchStation.AddressOf(fromPort);
        MacAddress destination = SwitchStation.AddressOf(toPort);
        PacketPool pool = new(4 * Burst);
        PacketBuffer[] outgoing = new PacketBuffer[Burst];
        PacketBuffer[] incoming = new PacketBuffer[Burst];
        pool.RentBurst(outgoing);
        pool.RentBurst(incoming);
        byte[] got = new byte[2000];
        (int sent, int received) = (0, 0);
        long since = Stopwatch.GetTimestamp();
        while (received < packets)
        {
            int wanted = Math.Min(Burst, Math.Min(packets - sent, Window - (sent - received)));
            for (int i = 0; i < wanted; i++)
                outgoing[i].TryCopyFrom(SwitchStation.Frame(destination, source, sent + i, LengthOf(sent + i)));
            sent += from.Client.Senders[0].SendBurst(outgoing.AsSpan(0, wanted));
            int count = to.Client.Receivers[0].ReceiveBurst(incoming);
            for (int i = 0; i < count; i++)
            {
                int length = incoming[i].CopyTo(got);
                byte[] expected = SwitchStation.Frame(destination, source, received, LengthOf(received));
                if (got.AsSpan(6, 6).SequenceEqual(expected.AsSpan(6, 6)) && !got.AsSpan(0, length).SequenceEqual(expected))
                    Assert.Fail($"packet {received} of port {fromPort} came as another one");
                received += got.AsSpan(6, 6).SequenceEqual(expected.AsSpan(6, 6)) ? 1 : 0;
            }

            if (count == 0 && (sent == packets || sent - received == Window))
                await to.Client.Receivers[0].WaitAsync().InTime();
        }

        return Stopwatch.GetElapsedTime(since);

        static int LengthOf(int number) => 64 + (number * 37 % 1400);
    }
}
