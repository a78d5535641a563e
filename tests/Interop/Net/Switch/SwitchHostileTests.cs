using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>One port of a switch misbehaves; two others go on and lose nothing.</summary>
[Collection(ProcessCounts.Name)]
public sealed class SwitchHostileTests
{
    private const int Packets = 4000;

    /// <summary>Beside somebody who misbehaves traffic may take this much longer than beside nobody, and a moment for the rest of the machine.</summary>
    private const int Slack = 5;

    private static readonly TimeSpan _moment = TimeSpan.FromSeconds(1);
    private static readonly NetSwitchOptions _three = new() { Ports = [new(), new(), new()], StationsPerPort = 64 };

    public static TheoryData<QueueDispatch> Ways => [QueueDispatch.Async, QueueDispatch.SharedThreads];

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task A_guest_that_takes_nothing_costs_its_own_packets_alone(QueueDispatch dispatch)
    {
        await using SwitchLoopback net = await StartAsync(dispatch);
        await net.ConnectAsync(2, new NetClientOptions { QueueSize = 16 });
        await net[2].AnnounceAsync(net[0], net[1]);
        TimeSpan alone = await ExchangeAsync(net);

        for (int i = 0; i < 3000; i++)
        {
            await net[0].SendAsync(net[0].FrameTo(2, i));
            if (i % 100 == 0)
                await net[1].SendAsync(SwitchStation.Frame(MacAddress.Broadcast, new MacAddress(0x5500_0000_0002), i));
        }

        TimeSpan beside = await ExchangeAsync(net);

        beside.Should().BeLessThan((alone * Slack) + _moment);
        NetSwitchPortStatistics slow = net.PortStatistics(2);
        slow.QueueFull.Should().BePositive();
        slow.Waiting.Should().BeLessThanOrEqualTo(_three.QueueBuffers);
        (net.PortStatistics(0).QueueFull, net.PortStatistics(1).QueueFull).Should().Be((0, 0));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task A_guest_that_makes_addresses_up_loses_its_own_alone(QueueDispatch dispatch)
    {
        await using SwitchLoopback net = await StartAsync(dispatch);
        await net.ConnectAsync(2);
        using CancellationTokenSource stop = new();
        Task<int> flood = Task.Run(() => FloodAsync(net[2], stop.Token));
        await Eventually.TrueAsync(() => net.Switch.Statistics.Replaced > 0);

        await SwitchTraffic.ExchangeAsync(net[0], net[1], 0, 1, Packets);
        await SwitchTraffic.ExchangeAsync(net[1], net[0], 1, 0, Packets);

        await stop.CancelAsync();
        (await flood.InTime()).Should().BeGreaterThan(64);
        NetSwitchStatistics counted = net.Switch.Statistics;
        counted.Forwarded.Should().BeGreaterThanOrEqualTo(2 * Packets, "the two were known all the time");
        counted.Stations.Should().BeLessThanOrEqualTo(2 + 64);
        net.Switch.GetStations().Count(one => one.Port.Index == 2).Should().Be(64);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task A_guest_that_comes_and_dies_in_the_middle_again_and_again_is_not_noticed(QueueDispatch dispatch)
    {
        await using SwitchLoopback net = await StartAsync(dispatch);
        TimeSpan alone = await ExchangeAsync(net);
        using CancellationTokenSource stop = new();
        Task dying = Task.Run(async () =>
        {
            for (int i = 0; !stop.IsCancellationRequested; i++)
            {
                await using RawGuest guest = await RawGuest.StartAsync(net.Open(2));
                for (int n = 0; n < 8; n++)
                    guest.Send(SwitchStation.Frame(MacAddress.Broadcast, new MacAddress(0x02 | ((ulong)(100 + i) << 32)), n));
                guest.Kick();
            }
        });

        TimeSpan beside = await ExchangeAsync(net);

        await stop.CancelAsync();
        await dying.InTime();
        beside.Should().BeLessThan((alone * Slack) + _moment);
        await Eventually.TrueAsync(() => net.Switch.GetStations().All(one => one.Port.Index < 2));
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task R01_R02_a_guest_whose_rings_break_is_left_alone(QueueDispatch dispatch)
    {
        await using SwitchLoopback net = await StartAsync(dispatch);
        TimeSpan alone = await ExchangeAsync(net);
        await using RawGuest guest = await RawGuest.StartAsync(net.Open(2));
        guest.Send(SwitchStation.Frame(MacAddress.Broadcast, SwitchStation.AddressOf(2), 1));
        guest.Kick();
        (await net[0].ReceiveAsync())[14].Should().Be(1);
        (await net[1].ReceiveAsync())[14].Should().Be(1);
        guest.ToGuest.AvailableIndex = 5000;
        guest.FromGuest.AvailableEntry(guest.FromGuest.AvailableIndex, 5000);
        guest.FromGuest.AvailableIndex++;
        guest.Kick();
        await net[1].SendAsync(SwitchStation.Frame(SwitchStation.AddressOf(2), net[1].Address, 1));
        await Eventually.TrueAsync(() => !net.Switch.Ports[2].Device.Ports[0].TakesPackets);

        TimeSpan beside = await ExchangeAsync(net);
        await net[0].SendAsync(SwitchStation.Frame(SwitchStation.AddressOf(2), net[0].Address, 1));

        await Eventually.TrueAsync(() => net.PortStatistics(2).NotServed > 0);
        beside.Should().BeLessThan((alone * Slack) + _moment);
    }

    /// <summary>A worker is held up, here where it notes what the guest got, and the guest goes. The worker of the next guest finds that another one is giving packets, and sleeps.</summary>
    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    public async Task A_guest_that_comes_while_the_last_ones_worker_is_held_up_gets_packets_once_that_is_back(QueueDispatch dispatch)
    {
        using TempFolder folder = new();
        HeldClock clock = new();
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(
            new NetSwitchOptions { Ports = [new(), new() { CaptureFile = folder.File("capture") }], TimeProvider = clock }, _ => new NetClientOptions(), dispatch);
        await net[1].AnnounceAsync(net[0]);
        clock.HoldNext();
        await net[0].SendAsync(net[0].FrameTo(1, 1));
        await clock.Held.InTime();
        await net.DisconnectAsync(1);
        await net.ConnectAsync(1);
        await net[0].SendAsync(net[0].FrameTo(1, 2));
        (await net[1].TryReceiveAsync(TimeSpan.FromMilliseconds(100))).Should().BeNull("the port is in somebody's hands");

        clock.GoOn.Set();

        byte[]? got = null;
        for (int turn = 0; got is null && turn < 500; turn++)
        {
            await net[0].SendAsync(net[0].FrameTo(1, 3));
            got = await net[1].TryReceiveAsync(TimeSpan.FromMilliseconds(20));
        }

        got.Should().Equal(net[0].FrameTo(1, 3));
    }

    [Theory]
    [InlineData(64)]
    [InlineData(3000)]
    public async Task Passing_packets_on_allocates_nothing(int length)
    {
        NetSwitchPortOptions device = new() { Device = new NetSwitchPortOptions().Device with { Offloads = VirtioNetFeatures.None } };
        await using SwitchLoopback net = await SwitchLoopback.StartAsync(
            new NetSwitchOptions { Ports = [device, device, device] }, _ => new NetClientOptions(), QueueDispatch.SharedThreads);
        for (int port = 0; port < 3; port++)
            await net[port].AnnounceAsync([.. Enumerable.Range(0, 3).Where(other => other != port).Select(other => net[other])]);
        PacketPool pool = new(200);
        PacketBuffer[] known = Frames(pool, net[0].FrameTo(1, 1, length));
        PacketBuffer[] everywhere = Frames(pool, SwitchStation.Frame(MacAddress.Broadcast, net[0].Address, 2, length));
        PacketBuffer[] got = new PacketBuffer[16];
        pool.RentBurst(got);
        Turn(100);

        long least = long.MaxValue;
        for (int attempt = 0; attempt < 5 && least > 0; attempt++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            Turn(100);
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }

        least.Should().BeLessThan(100 * 16, "of what passed not even a byte a packet was allocated, by whatever thread of the process");

        void Turn(int turns)
        {
            for (int i = 0; i < turns; i++)
            {
                Send(known, [1]);
                Send(everywhere, [1, 2]);
            }
        }

        void Send(PacketBuffer[] packets, ReadOnlySpan<int> to)
        {
            if (net[0].Client.Senders[0].SendBurst(packets) != packets.Length)
                Assert.Fail("there is room for all");
            foreach (int port in to)
            {
                long since = Environment.TickCount64;
                for (int received = 0; received < packets.Length;)
                {
                    received += net[port].Client.Receivers[0].ReceiveBurst(got);
                    if (Environment.TickCount64 - since > 10_000)
                        Assert.Fail($"{received} packets came to port {port}");
                }
            }

            net[0].Client.Senders[0].Reclaim();
        }
    }

    /// <summary>A clock that keeps one who looks at it.</summary>
    private sealed class HeldClock : TimeProvider
    {
        private readonly TaskCompletionSource _held = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _holds;

        public Task Held => _held.Task;

        public ManualResetEventSlim GoOn { get; } = new();

        public void HoldNext() => Volatile.Write(ref _holds, 1);

        public override DateTimeOffset GetUtcNow()
        {
            if (Interlocked.Exchange(ref _holds, 0) == 1)
            {
                _held.SetResult();
                GoOn.Wait(Eventually.Deadline);
            }

            return base.GetUtcNow();
        }
    }

    private static PacketBuffer[] Frames(PacketPool pool, byte[] frame)
    {
        PacketBuffer[] packets = new PacketBuffer[8];
        pool.RentBurst(packets);
        foreach (PacketBuffer packet in packets)
            packet.TryCopyFrom(frame).Should().BeTrue();
        return packets;
    }

    /// <summary>Guests at the first two ports, which know each other.</summary>
    private static async Task<SwitchLoopback> StartAsync(QueueDispatch dispatch)
    {
        SwitchLoopback net = await SwitchLoopback.StartAsync(_three, port => port < 2 ? new NetClientOptions() : null, dispatch);
        await net[0].AnnounceAsync(net[1]);
        await net[1].AnnounceAsync(net[0]);
        return net;
    }

    private static async Task<TimeSpan> ExchangeAsync(SwitchLoopback net) =>
        await SwitchTraffic.ExchangeAsync(net[0], net[1], 0, 1, Packets) + await SwitchTraffic.ExchangeAsync(net[1], net[0], 1, 0, Packets);

    private static async Task<int> FloodAsync(SwitchStation station, CancellationToken stop)
    {
        int sent = 0;
        for (; !stop.IsCancellationRequested; sent++)
            await station.SendAsync(SwitchStation.Frame(new MacAddress(0x0602 | ((ulong)sent << 16)), new MacAddress(0x0A02 | ((ulong)sent << 16)), sent));
        return sent;
    }
}
