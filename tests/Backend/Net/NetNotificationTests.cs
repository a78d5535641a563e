using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Who notifies whom of packets, and when, is the application's to say for each direction.</summary>
public sealed class NetNotificationTests : NetPortBench
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_direction_whose_calls_are_deferred_leaves_them_to_whoever_makes_them(bool packed)
    {
        using EventNotifier call = new();
        Start(packed, call: call);
        call.TryConsume(); // a packed ring may be owed a call by who had it before
        Port.ToGuestNotifications.DefersCalls = true;

        Give();
        Give();
        call.TryConsume().Should().BeFalse("nobody has called");
        Port.ToGuestNotifications.CallGuest().Should().BeTrue();
        call.TryConsume().Should().BeTrue();
        Port.ToGuestNotifications.CallGuest().Should().BeFalse("the guest was called for all of it");

        Take();
        call.TryConsume().Should().BeTrue("the other direction calls by itself");
        Port.FromGuestNotifications.CallGuest().Should().BeFalse();

        Port.ToGuestNotifications.DefersCalls = false;
        Give();
        call.TryConsume().Should().BeTrue();

        Port.ToGuestNotifications.DefersCalls = true;
        Give();
        await StopAsync();
        call.TryConsume().Should().BeTrue("what was owed is paid when the queue stops");
        Port.ToGuestNotifications.CallGuest().Should().BeFalse();
    }

    [Fact]
    public async Task What_was_chosen_before_there_was_a_guest_holds_when_it_comes_and_with_a_handler_too()
    {
        using EventNotifier kick = new();
        using EventNotifier call = new();
        Start(packed: false, handler: new Taker(Rent(4)), kick: kick, call: call, prepare: device => device.Ports[0].FromGuestNotifications.DefersCalls = true);

        Transmit.Offer(deviceWrites: false, (Data, 12 + 60));
        kick.Signal();

        await Eventually.TrueAsync(() => Port.FromGuestNotifications.CallGuest());
        call.TryConsume().Should().BeTrue();
        Port.FromGuest.Packets.Should().Be(1);
    }

    /// <summary>With kicks a wait ends with one, and none comes here.</summary>
    [Fact]
    public async Task A_guest_that_is_not_asked_for_kicks_is_looked_at_by_the_clock()
    {
        using EventNotifier kick = new();
        Start(packed: false, kick: kick);
        Port.FromGuestNotifications.AsksForKicks.Should().BeTrue();
        Port.FromGuestNotifications.AsksForKicks = false;

        for (int wait = 0; wait < 5; wait++)
            await Port.WaitForPacketsAsync().AsTask().InTime();
    }

    private void Give()
    {
        Receive.Offer(deviceWrites: true, (Data, 200));
        Port.EnqueueBurst([Packet(Bytes(60))]).Should().Be(1);
    }

    private void Take()
    {
        Transmit.Offer(deviceWrites: false, (Data, 12 + 60));
        Port.DequeueBurst(Rent(1)).Should().Be(1);
    }

    private sealed class Taker(PacketBuffer[] packets) : INetHandler
    {
        public void FromGuest(NetPort port) => port.DequeueBurst(packets);

        public void ToGuest(NetPort port)
        {
        }
    }
}
