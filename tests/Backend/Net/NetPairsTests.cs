using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Pairs that the driver uses and does not use, as it says on the control queue.</summary>
public sealed class NetPairsTests : NetControlBench
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Pairs_beyond_those_in_use_get_no_packets(bool packed)
    {
        Start(packed);
        Ring(2).Offer(deviceWrites: true, (Data, 2048));
        await ServedAsync();
        Device.ActivePairs.Should().Be(1, "a driver with a control queue starts with one pair");
        Device.Ports[1].EnqueueBurst([Packet(Bytes(60))]).Should().Be(0);

        (await SayAsync(4, 0, 0, 0)).Should().Be(Refused);
        (await SayAsync(4, 0, 3, 0)).Should().Be(Refused);
        (await SayAsync(4, 0, 2)).Should().Be(Refused);
        (await SayAsync(4, 0, 2, 0, 0)).Should().Be(Refused);
        Device.ActivePairs.Should().Be(1);
        (await SayAsync(4, 0, 2, 0)).Should().Be(Done);
        Device.Ports[1].EnqueueBurst([Packet(Bytes(60))]).Should().Be(1);
        (await SayAsync(4, 0, 1, 0)).Should().Be(Done);
        Ring(2).Offer(deviceWrites: true, (Data, 2048));
        Device.Ports[1].EnqueueBurst([Packet(Bytes(60))]).Should().Be(0);
        await StopAsync();
        Device.Reset();
        Device.ActivePairs.Should().Be(2);
    }

    /// <summary>The guest offers buffers on all pairs; those of a pair that it does not use are no room, and no reason to look again and again.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Waiting_for_room_in_a_pair_that_the_guest_does_not_use_lasts_until_it_does(bool packed)
    {
        Start(packed);
        (await SayAsync(4, 0, 1, 0)).Should().Be(Done);
        Ring(2).Offer(deviceWrites: true, (Data + 0x1_0000, 2048));
        NetPort port = Device.Ports[1];
        port.EnqueueBurst([Packet(Bytes(60))]).Should().Be(0);
        await port.WaitForRoomAsync().InTime(); // which the start ends
        Task waiting = port.WaitForRoomAsync().AsTask();
        Task patience = Task.Delay(TimeSpan.FromMilliseconds(50));
        (await Task.WhenAny(waiting, patience)).Should().BeSameAs(patience, "there is nothing to be done about it");

        (await SayAsync(4, 0, 2, 0)).Should().Be(Done);
        await waiting.InTime();
        port.EnqueueBurst([Packet(Bytes(60))]).Should().Be(1);
    }

    [Fact]
    public async Task Waiting_for_room_in_a_pair_that_the_guest_does_not_use_ends_with_the_queue_and_with_its_token()
    {
        Start(packed: false);
        (await SayAsync(4, 0, 1, 0)).Should().Be(Done);
        NetPort port = Device.Ports[1];
        await port.WaitForRoomAsync().InTime(); // which the start ends
        using CancellationTokenSource cancel = new();
        Task cancelled = port.WaitForRoomAsync(cancel.Token).AsTask();
        await cancel.CancelAsync();
        await cancelled.Awaiting(task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();

        Task waiting = port.WaitForRoomAsync().AsTask();
        await StopAsync();
        await waiting.InTime();
    }

    [Theory]
    [InlineData(VirtioNetFeatures.None, -1)]
    [InlineData(VirtioNetFeatures.ControlQueue, 2)]
    [InlineData(VirtioNetFeatures.ControlQueue | VirtioNetFeatures.MultiQueue, 4)]
    public void The_control_queue_lies_behind_all_pairs_or_behind_the_one(VirtioNetFeatures features, int control)
    {
        Start(packed: false, features, queues: 0, control: null);

        for (int queue = 0; queue < 5; queue++)
            Device.DispatchOf(queue, QueueDispatch.BusyPoll).Should().Be(queue == control ? QueueDispatch.Async : QueueDispatch.Application, "there is no handler");
        Device.ActivePairs.Should().Be(2);
    }
}
