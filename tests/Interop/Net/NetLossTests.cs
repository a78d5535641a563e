using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>The end of either side in the middle of traffic, and what is left behind.</summary>
[Collection(ProcessCounts.Name)]
public sealed class NetLossTests
{
    private readonly PacketPool _pool = new(64);

    [Fact]
    public async Task Losing_the_back_end_ends_every_call_with_the_reason()
    {
        await using NetLoopback net = await NetLoopback.StartAsync();
        PacketBuffer[] packets = Rent(8);
        ValueTask waiting = net.Receiver.WaitAsync();

        await net.KillBackendAsync();

        await ((Func<Task>)(() => net.Client.Completion.WaitAsync(Eventually.Deadline))).Should().ThrowAsync<VhostUserDisconnectedException>();
        await ((Func<Task>)(() => waiting.InTime())).Should().ThrowAsync<VhostUserDisconnectedException>();
        ((Action)(() => net.Receiver.ReceiveBurst(packets))).Should().Throw<VhostUserDisconnectedException>();
        await ((Func<Task>)(() => net.Sender.WaitAsync().InTime())).Should().ThrowAsync<VhostUserDisconnectedException>();
        net.Port.IsStarted.Should().BeFalse();
        (net.Port.DequeueBurst(packets), net.Port.EnqueueBurst(packets)).Should().Be((0, 0));
    }

    [Theory]
    [InlineData(VirtioFeatures.None)]
    [InlineData(VirtioFeatures.RingPacked)]
    public async Task F19_what_a_device_does_without_ever_calling_is_found(VirtioFeatures ring)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { RingFeatures = ring, QueueSize = 16 });
        PacketBuffer[] packets = Rent(16);
        PacketTraffic.Of(100).Build(packets);
        await net.Client.Frontend.Requests.SetVringCallAsync(0, null).InTime();
        await net.Client.Frontend.Requests.SetVringCallAsync(1, null).InTime();

        ValueTask arrival = net.Receiver.WaitAsync();
        net.Port.EnqueueBurst(packets.AsSpan(0, 1)).Should().Be(1);
        await arrival.InTime();
        net.Receiver.ReceiveBurst(packets).Should().Be(1);

        net.Sender.SendBurst(packets).Should().Be(16);
        ValueTask room = net.Sender.WaitAsync();
        net.Port.DequeueBurst(packets).Should().Be(16);
        await room.InTime();
        net.Sender.Reclaim().Should().Be(16);
    }

    [Fact]
    public async Task The_device_serves_the_next_front_end_after_one_has_gone_in_the_middle()
    {
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        NetDevice device = new();
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { Dispatch = QueueDispatch.Application });
        Task serving = backend.ListenAsync(socket.Path, stop.Token);
        PacketBuffer[] packets = Rent(8);
        for (int turn = 0; turn < 5; turn++)
        {
            await using NetClient client = await NetClient.ConnectAsync(socket.Path, new NetClientOptions { Connect = new() { RetryFor = Eventually.Deadline } }).InTime();
            await Eventually.TrueAsync(() => device.Ports[0].IsStarted);
            PacketTraffic traffic = PacketTraffic.Of(100);
            traffic.Build(packets);
            client.Senders[0].SendBurst(packets).Should().Be(8);
            device.Ports[0].DequeueBurst(packets.AsSpan(0, 4)).Should().Be(4, "the rest is lost with the front-end");
            traffic.Check(packets.AsSpan(0, 4));
        }

        await Eventually.TrueAsync(() => !device.Ports[0].IsStarted);
        device.Ports[0].FromGuest.Packets.Should().Be(20, "counters go on over front-ends");
        await stop.CancelAsync();
        await serving.InTime();
    }

    [Fact]
    public async Task An_application_waits_for_a_guest_and_for_the_next_one()
    {
        using TempSocket socket = new();
        using CancellationTokenSource stop = new();
        NetDevice device = new();
        NetPort port = device.Ports[0];
        ValueTask early = port.WaitForPacketsAsync(stop.Token);
        ValueTask room = port.WaitForRoomAsync(stop.Token);
        await using VhostUserBackend backend = new(device);
        Task serving = backend.ListenAsync(socket.Path, stop.Token);
        early.IsCompleted.Should().BeFalse("nobody is there");
        PacketBuffer[] packets = Rent(8);
        for (int turn = 0; turn < 5; turn++)
        {
            await using NetClient client = await NetClient.ConnectAsync(socket.Path, new NetClientOptions { Connect = new() { RetryFor = Eventually.Deadline } }).InTime();
            await (turn == 0 ? early : port.WaitForPacketsAsync()).InTime();
            await (turn == 0 ? room : port.WaitForRoomAsync()).InTime();
            PacketTraffic.Of(100).Build(packets);
            client.Senders[0].SendBurst(packets).Should().Be(8);
            while (port.DequeueBurst(packets) == 0)
                await port.WaitForPacketsAsync().InTime();
        }

        await Eventually.TrueAsync(() => !port.IsStarted);
        Task last = port.WaitForPacketsAsync(stop.Token).AsTask();
        last.IsCompleted.Should().BeFalse();
        await stop.CancelAsync();
        await ((Func<Task>)(() => last.InTime())).Should().ThrowAsync<OperationCanceledException>();
        await serving.InTime();
    }

    [Fact]
    public async Task Threads_inside_when_the_client_is_disposed_learn_that_it_is_gone()
    {
        NetLoopback net = await NetLoopback.StartAsync();
        using ManualResetEventSlim running = new();
        Task<Exception>[] threads =
        [
            Task.Factory.StartNew(() => Poll(p => net.Sender.SendBurst(p)), TaskCreationOptions.LongRunning),
            Task.Factory.StartNew(() => Poll(p => net.Receiver.ReceiveBurst(p)), TaskCreationOptions.LongRunning),
        ];
        running.Wait(Eventually.Deadline).Should().BeTrue();

        await net.DisposeAsync();

        foreach (Task<Exception> thread in threads)
            (await thread.InTime()).Should().BeOfType<ObjectDisposedException>();
        ((Action)(() => net.Sender.Reclaim())).Should().Throw<ObjectDisposedException>();

        Exception Poll(Func<PacketBuffer[], int> call)
        {
            PacketBuffer[] packets = Rent(8);
            PacketTraffic.Of(64).Build(packets);
            try
            {
                while (true)
                {
                    call(packets);
                    running.Set();
                }
            }
            catch (ObjectDisposedException gone)
            {
                return gone;
            }
        }
    }

    [Fact]
    public async Task Descriptors_and_mappings_are_back_when_both_sides_have_gone()
    {
        await OnceAsync();
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int i = 0; i < 5; i++)
            await OnceAsync();
        before.AssertBack();

        async Task OnceAsync()
        {
            await using NetLoopback net = await NetLoopback.StartAsync(new NetClientOptions { QueuePairs = 2 }, new NetDeviceOptions { QueuePairs = 2 });
            PacketTraffic.Of(64).Pump(new PacketPool(64), 100, 8, (p, n) => net.Sender.SendBurst(p.AsSpan(0, n)), p => net.Port.DequeueBurst(p));
        }
    }

    [Theory]
    [InlineData(VirtioFeatures.None, true, 64)]
    [InlineData(VirtioFeatures.None, true, 5000)]
    [InlineData(VirtioFeatures.RingPacked, false, 64)]
    [InlineData(VirtioFeatures.InOrder, true, 1500)]
    public async Task A_packet_allocates_nothing_on_either_side(VirtioFeatures ring, bool mergeable, int size)
    {
        await using NetLoopback net = await NetLoopback.StartAsync(
            new NetClientOptions { RingFeatures = ring, Mergeable = mergeable, DetailedStatistics = true }, new NetDeviceOptions { DetailedStatistics = true });
        PacketPool pool = new(200);
        PacketBuffer[] packets = new PacketBuffer[16];
        PacketBuffer[] got = new PacketBuffer[16];
        pool.RentBurst(packets);
        pool.RentBurst(got);
        PacketTraffic.Of(size).Build(packets);
        Turn(100);

        Allocations.OfThisThread(() => Turn(2000)).Should().Be(0);

        void Turn(int turns)
        {
            for (int i = 0; i < turns; i++)
            {
                int sent = net.Sender.SendBurst(packets);
                int dequeued = net.Port.DequeueBurst(got);
                int enqueued = net.Port.EnqueueBurst(packets);
                int received = net.Receiver.ReceiveBurst(got);
                if (sent != dequeued || enqueued != received || sent == 0)
                    Assert.Fail($"{sent} sent, {dequeued} dequeued, {enqueued} enqueued, {received} received");
            }
        }
    }

    private PacketBuffer[] Rent(int count)
    {
        PacketBuffer[] packets = new PacketBuffer[count];
        _pool.RentBurst(packets).Should().Be(count);
        return packets;
    }
}
