using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Whether there is a guest to talk to.</summary>
public class NetPortStateTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_guest_that_stops_its_queues_and_stays_is_none(bool withHandler)
    {
        NetDevice device = new(handler: withHandler ? new Silent() : null);
        NetPort port = device.Ports[0];
        await using VhostUserBackend backend = new(device);
        (VhostUserConnection end, VhostUserConnection ours) = VhostUserConnection.CreatePair();
        _ = backend.ServeAsync(ours);
        using TestGuest guest = new();
        using TestRing toGuest = new(guest, 0);
        using TestRing fromGuest = new(guest, 1);
        await using RawFrontend frontend = new(end);
        await frontend.NegotiateAsync();
        await frontend.AddMemoryAsync(guest);
        port.IsStarted.Should().BeFalse();
        for (ushort round = 0; round < 2; round++)
        {
            await frontend.StartAsync(toGuest);
            await frontend.StartAsync(fromGuest);
            await Eventually.TrueAsync(() => port.IsStarted);

            await frontend.StopAsync(toGuest);
            port.IsStarted.Should().BeFalse("one queue is not enough");
            await frontend.StopAsync(fromGuest);
            port.IsStarted.Should().BeFalse();
        }
    }

    private sealed class Silent : INetHandler
    {
        public void FromGuest(NetPort port)
        {
        }

        public void ToGuest(NetPort port)
        {
        }
    }
}
