using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>The control queue between our two halves, whatever serves the other queues.</summary>
public sealed class NetControlTests
{
    private static readonly NetClientOptions WithControl = new() { ControlQueue = true };
    private static readonly NetDeviceOptions WithControlQueue = new() { ControlQueue = true };

    [Theory]
    [InlineData(QueueDispatch.Application, VirtioFeatures.None)]
    [InlineData(QueueDispatch.Async, VirtioFeatures.EventIndex)]
    [InlineData(QueueDispatch.DedicatedThread, VirtioFeatures.RingPacked)]
    [InlineData(QueueDispatch.BusyPoll, VirtioFeatures.RingPacked | VirtioFeatures.EventIndex)]
    public async Task Every_command_reaches_the_device(QueueDispatch dispatch, VirtioFeatures ring)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(WithControl with { RingFeatures = ring }, WithControlQueue, dispatch, dispatch == QueueDispatch.Application ? null : new Nothing());
        NetControl control = net.Client.Control!;
        control.Index.Should().Be(2);
        MacAddress mac = MacAddress.Random();
        MacAddress[] others = [.. Enumerable.Range(0, 200).Select(_ => MacAddress.Random())];
        MacAddress[] groups = [new(0x0100_0000_0001), new(0x0200_0000_0001)];

        foreach (NetReceiveModes mode in Enum.GetValues<NetReceiveModes>().Where(mode => mode != 0))
            await control.SetReceiveModeAsync(mode, on: mode != NetReceiveModes.Promiscuous).InTime();
        net.Device.ReceiveFilter.Modes.Should().Be((NetReceiveModes)0x3E);
        await control.SetMacTableAsync(others, groups).InTime();
        (net.Device.ReceiveFilter.UnicastTable, net.Device.ReceiveFilter.MulticastTable).Should().BeEquivalentTo((others, groups));
        await control.SetMacAsync(mac).InTime();
        net.Device.Mac.Should().Be(mac);
        await control.AddVlanAsync(100).InTime();
        await control.AddVlanAsync(101).InTime();
        await control.RemoveVlanAsync(100).InTime();
        (net.Device.ReceiveFilter.AcceptsVlan(100), net.Device.ReceiveFilter.AcceptsVlan(101)).Should().Be((false, true));
        control.Statistics.InFlight.Should().Be(0);
    }

    [Fact]
    public async Task What_the_device_refuses_is_an_error_and_the_next_command_goes_through()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(WithControl, WithControlQueue);
        NetControl control = net.Client.Control!;

        await Refused(() => control.AddVlanAsync(4096));
        await Refused(() => control.SetMacAsync(MacAddress.Broadcast));
        await Refused(() => control.SetQueuePairsAsync(2));
        await Refused(() => control.AcknowledgeAnnouncementAsync());
        await ((Func<Task>)(() => control.AddVlanAsync(65536).AsTask())).Should().ThrowAsync<OverflowException>();
        await ((Func<Task>)(() => control.SetReceiveModeAsync(NetReceiveModes.None, on: true).AsTask())).Should().ThrowAsync<ArgumentException>();
        await ((Func<Task>)(() => control.SetReceiveModeAsync((NetReceiveModes)3, on: true).AsTask())).Should().ThrowAsync<ArgumentException>();
        await ((Func<Task>)(() => control.SetMacTableAsync(new MacAddress[513], []).AsTask())).Should().ThrowAsync<ArgumentException>();
        await control.SetMacTableAsync(new MacAddress[512], []).InTime();
        net.Device.ReceiveFilter.UnicastOverflow.Should().BeTrue();

        static async Task Refused(Func<ValueTask> command) =>
            await ((Func<Task>)(() => command().InTime())).Should().ThrowAsync<NetControlException>().WithMessage("*refused*");
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task The_client_says_how_many_pairs_it_uses_and_may_change_it(VirtioFeatures ring)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(WithControl with { QueuePairs = 2, RingFeatures = ring }, new NetDeviceOptions { QueuePairs = 3 });
        net.Client.Control!.Index.Should().Be(6, "it lies behind all pairs that the device has");
        net.Device.ActivePairs.Should().Be(2);
        PacketPool pool = new(16);
        PacketTraffic.Of(64).Pump(pool, 50, 4, (p, n) => net.Device.Ports[1].EnqueueBurst(p.AsSpan(0, n)), p => net.Client.Receivers[1].ReceiveBurst(p));

        await net.Client.Control.SetQueuePairsAsync(1).InTime();
        PacketBuffer[] packets = new PacketBuffer[1];
        pool.RentBurst(packets);
        packets[0].Append(60);
        net.Device.Ports[1].EnqueueBurst(packets).Should().Be(0);
        net.Device.Ports[0].EnqueueBurst(packets).Should().Be(1);
    }

    [Fact]
    public async Task Without_a_control_queue_all_pairs_that_are_enabled_are_used()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { QueuePairs = 2 }, new NetDeviceOptions { QueuePairs = 2 });

        net.Client.Control.Should().BeNull();
        net.Device.ActivePairs.Should().Be(2);
    }

    [Fact]
    public async Task An_announcement_is_asked_for_and_confirmed()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(WithControl, WithControlQueue);
        await net.Client.Control!.SetReceiveModeAsync(NetReceiveModes.AllMulticast, on: true).InTime();

        (await net.Device.RequestAnnouncementAsync(net.Backend).InTime()).Should().BeTrue();
        byte[] status = new byte[2];
        await net.Client.Frontend.ReadConfigAsync(VirtioNetConfig.StatusOffset, status).InTime();
        status.Should().Equal(3, 0);
        await net.Client.Control.AcknowledgeAnnouncementAsync().InTime();
        await net.Client.Frontend.ReadConfigAsync(VirtioNetConfig.StatusOffset, status).InTime();
        status.Should().Equal(1, 0);
    }

    [Fact]
    public async Task Commands_of_many_threads_go_one_after_the_other()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(WithControl, WithControlQueue);

        await Task.WhenAll(Enumerable.Range(0, 64).Select(i => Task.Run(() => net.Client.Control!.AddVlanAsync(i).InTime()))).InTime();

        Enumerable.Range(0, 65).Count(net.Device.ReceiveFilter.AcceptsVlan).Should().Be(64);
    }

    [Fact]
    public async Task A_cancelled_command_does_not_confuse_the_next()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(WithControl, WithControlQueue);
        for (int i = 0; i < 50; i++)
        {
            using CancellationTokenSource soon = new();
            Task command = net.Client.Control!.AddVlanAsync(i, soon.Token).AsTask();
            await soon.CancelAsync();
            await command.ContinueWith(_ => { }, TaskScheduler.Default).InTime();
            await net.Client.Control.AddVlanAsync(1000 + i).InTime();
            net.Device.ReceiveFilter.AcceptsVlan(1000 + i).Should().BeTrue();
        }
    }

    [Fact]
    public async Task Losing_the_back_end_ends_commands_too()
    {
        await using NetLoopback net = await NetLoopback.StartAsync(WithControl, WithControlQueue);
        await net.KillBackendAsync();
        await ((Func<Task>)(() => net.Client.Completion.WaitAsync(Eventually.Deadline))).Should().ThrowAsync<VhostUserDisconnectedException>();

        await ((Func<Task>)(() => net.Client.Control!.AddVlanAsync(1).InTime())).Should().ThrowAsync<VhostUserDisconnectedException>();
        await net.Client.DisposeAsync().InTime();
        await ((Func<Task>)(() => net.Client.Control!.AddVlanAsync(1).InTime())).Should().ThrowAsync<VhostUserException>();
    }

    private sealed class Nothing : INetHandler
    {
        public void FromGuest(NetPort port)
        {
        }

        public void ToGuest(NetPort port)
        {
        }
    }
}
