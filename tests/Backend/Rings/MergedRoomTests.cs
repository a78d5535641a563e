using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>What a driver can make a network device do that looks for enough buffers for one packet.</summary>
public sealed class MergedRoomTests
{
    private const int Size = 1024;
    private const ulong Data = 0x10_0000;

    [Fact]
    public void R10_short_packets_behind_one_that_took_more_buffers_than_a_burst_has_find_room()
    {
        using GuestMemory memory = GuestRam.Create(0x20_0000);
        using RawSplitRing ring = new(memory, 0, Size);
        for (ushort i = 0; i < 128; i++)
        {
            ring.Descriptor(i, Data + (i * 100UL), 100, RawSplitRing.Write);
            ring.Offer(i);
        }

        DeviceVirtqueue device = Start(memory, ring);
        NetPort port = Port();
        PacketBuffer[] packets = new PacketBuffer[20];
        new PacketPool(64).RentBurst(packets);
        foreach (PacketBuffer packet in packets)
            packet.TryCopyFrom(new byte[60]).Should().BeTrue();
        port.Process(device, new Sender(packets[..1], 1));

        // All that is left of the burst, and one buffer more.
        packets[0].TryCopyFrom(new byte[(32 * 100) - VirtioNetHeader.Size]).Should().BeTrue();
        port.Process(device, new Sender(packets, packets.Length));

        device.Flush();
        ring.UsedIndex.Should().Be(1 + 32 + 19);
        device.Deactivate();
    }

    [Fact]
    public void R10_chains_of_a_byte_each_that_share_all_their_descriptors_break_the_queue_before_they_cost_memory()
    {
        using GuestMemory memory = GuestRam.Create(0x20_0000);
        using RawSplitRing ring = new(memory, 0, Size);
        for (int i = 0; i < Size; i++)
        {
            bool last = i == Size - 1;
            ring.Descriptor(i, Data, last ? 12u : 1u, last ? RawSplitRing.Write : RawSplitRing.Next, (ushort)(i + 1));
            ring.Offer(0);
        }

        DeviceVirtqueue device = Start(memory, ring);
        PacketBuffer[] packets = new PacketBuffer[1];
        new PacketPool(16).RentBurst(packets);
        packets[0].TryCopyFrom(new byte[16_000]).Should().BeTrue();
        NetPort port = Port();
        long before = GC.GetAllocatedBytesForCurrentThread();

        port.Process(device, new Sender(packets, 0));

        (GC.GetAllocatedBytesForCurrentThread() - before).Should().BeLessThan(12 << 20);
        device.Fault.Should().Be(VirtqueueFault.ChainTooLong);
        port.ToGuest.Packets.Should().Be(0);
        device.Deactivate();
    }

    private static DeviceVirtqueue Start(GuestMemory memory, RawSplitRing ring)
    {
        VirtqueueSetup setup = new(
            0,
            Size,
            new UserAddress(GuestRam.UserOffset),
            new UserAddress(GuestRam.UserOffset + ring.AvailableRing.Value),
            new UserAddress(GuestRam.UserOffset + ring.UsedRing.Value),
            0,
            VirtioFeatures.Version1);
        return DeviceVirtqueue.TryActivate(memory, setup, null, out _, out string why) ?? throw new InvalidOperationException(why);
    }

    private static NetPort Port()
    {
        NetPort port = new(0, classify: false, isApplications: true);
        port.Configure(VirtioFeatures.Version1 | (VirtioFeatures)(ulong)VirtioNetFeatures.MergeableBuffers);
        return port;
    }

    private sealed class Sender(PacketBuffer[] packets, int expected) : INetHandler
    {
        public void FromGuest(NetPort port) => port.DequeueBurst(packets);

        public void ToGuest(NetPort port) => port.EnqueueBurst(packets).Should().Be(expected);
    }
}
