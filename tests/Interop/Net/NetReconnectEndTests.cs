using System.Diagnostics;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>When a network client does not go on, and what is left then.</summary>
[Collection(ProcessCounts.Name)]
public sealed class NetReconnectEndTests
{
    [Fact]
    public async Task When_nobody_comes_in_time_the_client_ends_with_the_reason_for_which_it_was_left()
    {
        NetClientOptions options = new() { ControlQueue = true, Reconnect = NetSuccession.Quick with { Limit = TimeSpan.FromMilliseconds(200) } };
        await using NetSuccession net = await NetSuccession.StartAsync(options, new NetDeviceOptions { ControlQueue = true });
        Task arrival = net.Receiver.WaitAsync().AsTask();
        await net.LoseAsync();
        Task room = net.Sender.WaitAsync().AsTask();
        Task command = net.Client.Control!.AddVlanAsync(1).AsTask();

        foreach (Task task in (Task[])[net.Client.Completion, arrival, room, command])
            await ((Func<Task>)(() => task.InTime())).Should().ThrowAsync<VhostUserDisconnectedException>();
        PacketBuffer[] packets = Rent();
        ((Action)(() => net.Sender.SendBurst(packets))).Should().Throw<VhostUserDisconnectedException>();
        ((Action)(() => net.Sender.BeginBurst(1))).Should().Throw<VhostUserDisconnectedException>();
        ((Action)(() => net.Receiver.ReceiveBurst(packets))).Should().Throw<VhostUserDisconnectedException>();
    }

    [Fact]
    public async Task Disposing_while_the_next_one_is_looked_for_ends_everything_at_once()
    {
        NetClientOptions options = new() { ControlQueue = true, Reconnect = new ReconnectPolicy { Delay = TimeSpan.FromMinutes(1) } };
        await using NetSuccession net = await NetSuccession.StartAsync(options, new NetDeviceOptions { ControlQueue = true });
        await net.LoseAsync();
        Task arrival = net.Receiver.WaitAsync().AsTask();
        Task room = net.Sender.WaitAsync().AsTask();
        Task command = net.Client.Control!.AddVlanAsync(1).AsTask();

        await net.Client.DisposeAsync().InTime();

        foreach (Task task in (Task[])[arrival, room, command])
            await ((Func<Task>)(() => task.InTime())).Should().ThrowAsync<ObjectDisposedException>();
        await net.Client.Completion.InTime();
    }

    [Theory]
    [InlineData("MRG_RXBUF")]
    [InlineData("2 queues; 4 are in use")]
    [InlineData("control queue is queue 6; it was queue 4")]
    public async Task F05_a_back_end_that_offers_less_than_the_driver_has_is_refused_by_name(string difference)
    {
        NetDeviceOptions before = new() { QueuePairs = 2 };
        await using NetSuccession net = await NetSuccession.StartAsync(new NetClientOptions { QueuePairs = 2, ControlQueue = difference[0] == 'c' }, before);
        await net.LoseAsync();

        net.Begin(options: difference[0] switch
        {
            'M' => before with { Mergeable = false },
            '2' => before with { QueuePairs = 1, ControlQueue = true },
            _ => before with { QueuePairs = 3 },
        });

        (await ((Func<Task>)(() => net.Client.Completion.InTime())).Should().ThrowAsync<VhostUserException>()).Which.Message.Should().Contain(difference);
    }

    [Fact]
    public async Task Over_a_connection_made_elsewhere_there_is_no_next_one()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { Reconnect = NetSuccession.Quick });

        await net.KillBackendAsync();

        await ((Func<Task>)(() => net.Client.Completion.InTime())).Should().ThrowAsync<VhostUserDisconnectedException>();
        net.Client.Reconnections.Should().Be(0);
    }

    [Fact]
    public async Task A_handler_that_throws_ends_the_client_with_what_it_threw()
    {
        await using NetSuccession net = await NetSuccession.StartAsync();
        net.Client.ConnectionLost += (_, _) => throw new InvalidTimeZoneException("as good as any");

        await net.EndAsync();

        await ((Func<Task>)(() => net.Client.Completion.InTime())).Should().ThrowAsync<InvalidTimeZoneException>();
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task F16_next_ones_that_die_at_any_step_of_their_start_are_followed_by_another(VirtioFeatures ring)
    {
        NetClientOptions options = new() { RingFeatures = ring, QueueSize = 16, ControlQueue = true, Reconnect = new ReconnectPolicy { Delay = TimeSpan.FromMilliseconds(1) } };
        await using NetSuccession net = await NetSuccession.StartAsync(options, new NetDeviceOptions { ControlQueue = true });
        PacketBuffer[] packets = Rent();
        net.Sender.SendBurst(packets).Should().Be(1);
        await net.Client.Control!.AddVlanAsync(5).InTime();
        await net.LoseAsync();
        int step = 0;
        for (bool serves = false; !serves; step++)
        {
            Task end = net.BeginDoomed(step);
            await Eventually.TrueAsync(() => end.IsCompleted || net.Client.Reconnections > 0);
            serves = !end.IsCompleted;
            await net.EndAsync();
        }

        step.Should().BeGreaterThan(20, "a start has as many messages at least");
        net.Begin();
        await Eventually.TrueAsync(() => net.Client.Reconnections > 1 && net.Port.IsStarted);

        (net.Sender.Statistics.Lost, net.Sender.Reclaim(), net.Receiver.Statistics.InFlight, net.Client.Completion.IsCompleted).Should().Be((1, 16, 16, false));
        net.Device.ReceiveFilter.AcceptsVlan(5).Should().BeTrue();
        PacketTraffic.Of(100).Pump(new PacketPool(64), 100, 8, (p, n) => net.Sender.SendBurst(p.AsSpan(0, n)), p => net.Port.DequeueBurst(p));
        PacketTraffic.Of(100).Pump(new PacketPool(64), 100, 8, (p, n) => net.Port.EnqueueBurst(p.AsSpan(0, n)), p => net.Receiver.ReceiveBurst(p));
    }

    [Fact]
    public async Task Back_ends_that_come_and_go_are_not_followed_faster_than_the_policy_says()
    {
        TimeSpan delay = TimeSpan.FromMilliseconds(200);
        await using NetSuccession net = await NetSuccession.StartAsync(new NetClientOptions { Reconnect = new ReconnectPolicy { Delay = delay } });
        await net.LoseAsync();
        await net.ReplaceAsync();
        long began = Stopwatch.GetTimestamp();
        await net.LoseAsync();
        await net.ReplaceAsync();

        Stopwatch.GetElapsedTime(began).Should().BeGreaterThan(delay / 2, "the one before was found only just now");
    }

    [Fact]
    public async Task Descriptors_and_mappings_stay_the_same_over_back_ends_and_are_back_at_the_end()
    {
        await OnceAsync(2);
        ProcessCounts before = ProcessCounts.Snapshot();
        await OnceAsync(10);
        before.AssertBack();

        async Task OnceAsync(int lives)
        {
            await using NetSuccession net = await NetSuccession.StartAsync(new NetClientOptions { QueuePairs = 2, ControlQueue = true }, new NetDeviceOptions { QueuePairs = 2 });
            LentPacket[] lent = new LentPacket[1];
            ProcessCounts served = ProcessCounts.Snapshot();
            for (int life = 0; life < lives; life++)
            {
                PacketBuffer[] packets = Rent();
                net.Port.EnqueueBurst(packets).Should().Be(1);
                net.Receiver.LendBurst(lent).Should().Be(1);
                await net.LoseAsync();
                await net.ReplaceAsync();
                lent[0].Release();
                served.AssertBack();
            }
        }
    }

    private static PacketBuffer[] Rent()
    {
        PacketBuffer[] packets = new PacketBuffer[1];
        new PacketPool(4).RentBurst(packets).Should().Be(1);
        packets[0].TryCopyFrom(new byte[100]).Should().BeTrue();
        return packets;
    }
}
