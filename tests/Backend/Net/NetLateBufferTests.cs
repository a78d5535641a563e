using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Buffers for packets behind an IOMMU, some of which are translated late.</summary>
public sealed class NetLateBufferTests : NetPortBench, IDisposable
{
    /// <summary>More looks than a queue may have at chains for one packet.</summary>
    private const int Looks = 150_000;

    private readonly DeviceIotlb _iotlb = new(64, 64, new IotlbCounters(), () => { });

    public void Dispose() => _iotlb.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_packet_for_several_buffers_waits_for_the_one_that_is_translated_late(bool packed)
    {
        _iotlb.UseMemory(Memory);
        Map(GuestRam.UserOffset, 0, Seam);
        Map(Data, Data, 4096);
        using EventNotifier kick = new();
        Start(packed, kick: kick);
        Receive.Offer(deviceWrites: true, (Data, 1000));
        Receive.Offer(deviceWrites: true, (Data + 4096, 1000));
        PacketBuffer packet = Packet(Bytes(1500));

        Task room = Task.CompletedTask;
        for (int i = 0; i < 10 && room.IsCompleted; i++) // the start of the queue ends a wait too
        {
            Port.EnqueueBurst([packet]).Should().Be(0, "the second buffer is not there yet");
            room = Port.WaitForRoomAsync().AsTask();
        }

        room.IsCompleted.Should().BeFalse("nothing has changed");
        Receive.Offer(deviceWrites: true, (Data + 8192, 1000));
        Port.EnqueueBurst([packet]).Should().Be(0, "buffers are used in order");
        room.IsCompleted.Should().BeFalse();
        for (int look = 0; look < Looks; look++)
            Port.EnqueueBurst([packet]).Should().Be(0);
        Broken.Should().BeEmpty("nobody did anything wrong");

        Map(Data + 4096, Data + 4096, 8192);
        Worker(0).MoveSoon();
        await room.InTime();
        Port.EnqueueBurst([packet]).Should().Be(1);
        Get(Data + 12, 988).Should().Equal(Bytes(1500)[..988]);
        Get(Data + 4096, 512).Should().Equal(Bytes(1500)[988..]);
        Receive.Used.Select(used => used.Length).Should().Equal(1000u, 512u);
    }

    private protected override DeviceVirtqueue? Activate(in VirtqueueSetup setup, EventNotifier? call, out string why) => DeviceVirtqueue.TryActivate(new RingIotlb(_iotlb, rounds: 10), setup, call, inflight: null, out why);

    private void Map(ulong address, ulong at, ulong size)
    {
        GuestMemoryRegion region = Memory.Regions.Single(region => at >= region.GuestAddress.Value && at - region.GuestAddress.Value < region.Size);
        _iotlb.Update([new Translation(address, region, at - region.GuestAddress.Value, size, VhostUserIotlbPermission.ReadWrite)]);
    }
}
