using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>Chains that outlive their turn, of a driver that makes them as long as it can: a table for all of them with as many pieces as the ring has descriptors.</summary>
[Collection(ProcessCounts.Name)]
public sealed class LoanTests
{
    private const ulong Table = 0x40_0000;
    private const ulong Bytes = 0x60_0000;

    [Fact]
    public void R04_long_chains_that_are_lent_take_no_more_memory_than_a_few_rings()
    {
        const int Size = 4096;
        using GuestMemory memory = GuestRam.Create(0x80_0000);
        using RawSplitRing ring = LongChains(memory, Size);
        NetPort port = Port();
        DeviceVirtqueue queue = Start(memory, ring);
        LentPacket[] packets = new LentPacket[Size / 2];
        long before = GC.GetTotalMemory(true);

        int lent = Lend(port, queue, packets);

        lent.Should().BeInRange(4, 100, "the rest stays on the ring");
        (GC.GetTotalMemory(true) - before).Should().BeLessThan(8 << 20);
        int all = lent;
        for (int turn = 0; turn < 50; turn++)
        {
            foreach (LentPacket packet in packets.AsSpan(0, lent))
                packet.Release();
            queue.Flush();
            lent = Lend(port, queue, packets);
            lent.Should().BeInRange(4, 100);
            all += lent;
        }

        foreach (LentPacket packet in packets.AsSpan(0, lent))
            packet.Release();
        queue.Flush();
        ring.UsedIndex.Should().Be((ushort)all);
        (GC.GetTotalMemory(true) - before).Should().BeLessThan(8 << 20, "what was lent leaves no room behind that is as large");
        queue.Deactivate();
    }

    [Fact]
    public void Packets_that_cannot_be_lent_any_more_can_still_be_copied()
    {
        using GuestMemory memory = GuestRam.Create(0x80_0000);
        using RawSplitRing ring = LongChains(memory, 1024);
        NetPort port = Port();
        DeviceVirtqueue queue = Start(memory, ring);
        LentPacket[] packets = new LentPacket[512];
        int lent = Lend(port, queue, packets);
        while (Lend(port, queue, packets.AsMemory(lent)) is > 0 and int more)
            lent += more;
        lent.Should().BeLessThan(512);
        queue.ArmKick().Should().BeTrue("nothing more is lent before something is released, so there is nothing to look for");
        PacketBuffer[] copies = new PacketBuffer[4];
        new PacketPool(256).RentBurst(copies);

        int copied = 0;
        port.Process(queue, new Handler(own => copied = own.DequeueBurst(copies)));

        copied.Should().Be(4);
        queue.ArmKick().Should().BeFalse("more can be copied");
        foreach (LentPacket packet in packets.AsSpan(0, lent))
            packet.Release();
        queue.Deactivate();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R04_a_device_that_keeps_long_chains_gets_no_more_of_them_until_it_completes_some(bool elsewhere)
    {
        const int Size = 1024;
        using GuestMemory memory = GuestRam.Create(0x80_0000);
        using RawSplitRing ring = LongChains(memory, Size);
        DeviceVirtqueue queue = Start(memory, ring);
        int woken = 0;
        queue.Wake = () => woken++;
        Queue<DetachedChain> kept = new();

        for (int done = 0; done < Size;)
        {
            int before = kept.Count;
            while (queue.TryPop(out DescriptorChain chain))
                kept.Enqueue(chain.Detach());
            (kept.Count - before).Should().BeGreaterThan(done + before < Size ? 0 : -1);
            kept.Count.Should().BeLessThan(80);
            if (done + kept.Count < Size)
                queue.ArmKick().Should().BeTrue("what is on the ring has to wait");
            queue.TryPop(out _).Should().BeFalse();

            for (int half = Math.Max(kept.Count / 2, 1); half > 0; half--, done++)
            {
                if (elsewhere)
                    kept.Dequeue().Complete(0);
                else
                    queue.Complete(kept.Dequeue(), 0);
            }

            woken.Should().Be(elsewhere ? done : 0, "whoever completes on another thread wakes the one that serves the queue");
            queue.Flush();
            if (done + kept.Count < Size)
                queue.ArmKick().Should().BeFalse("there is something to take again");
        }

        ring.UsedIndex.Should().Be(Size);
        queue.Fault.Should().Be(VirtqueueFault.None);
        queue.Deactivate();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public void While_too_much_is_lent_there_is_nothing_to_look_for_until_more_comes_or_something_is_released(int pieces)
    {
        using GuestMemory memory = GuestRam.Create(0x80_0000);
        using RawSplitRing ring = new(memory, 0, 64);
        for (int i = 0; i < 60; i++)
            ring.Descriptor(i, Bytes, 72 / (uint)pieces, i % pieces == pieces - 1 ? (ushort)0 : RawSplitRing.Next, (ushort)(i + 1));
        for (int i = 0; i < 60; i++)
            ring.Offer((ushort)(i / pieces * pieces));
        NetPort port = Port();
        DeviceVirtqueue queue = Start(memory, ring);
        int woken = 0;
        queue.Wake = () => woken++;
        LentPacket[] packets = new LentPacket[64];

        Lend(port, queue, packets).Should().Be(32);
        queue.ArmKick().Should().BeFalse("nobody was told yet that there is nothing more to lend");
        Lend(port, queue, packets.AsMemory(32)).Should().Be(0);
        queue.ArmKick().Should().BeTrue("it would be found again and again");

        Lend(port, queue, packets.AsMemory(32)).Should().Be(0);
        ring.Offer(0);
        queue.ArmKick().Should().BeFalse("something has come meanwhile");
        Lend(port, queue, packets.AsMemory(32)).Should().Be(0);
        packets[5].Release();
        (woken, Lend(port, queue, packets.AsMemory(32))).Should().Be((1, 1));
        foreach (LentPacket packet in packets.Where(packet => packet.IsLent))
            packet.Release();
        queue.Deactivate();
    }

    [Fact]
    public void What_one_session_has_lent_is_no_matter_of_the_next()
    {
        using GuestMemory memory = GuestRam.Create(0x80_0000);
        using RawSplitRing first = OneBuffer(memory, 0, 64);
        using RawSplitRing second = OneBuffer(memory, 0x1_0000, 64);
        NetPort port = Port();
        LentPacket[] old = new LentPacket[32];
        LentPacket[] now = new LentPacket[32];

        DeviceVirtqueue queue = Start(memory, first);
        Lend(port, queue, old).Should().Be(32);
        DeviceVirtqueue next = Start(memory, second);
        Lend(port, next, now).Should().Be(32, "half of its own ring");
        foreach (LentPacket packet in old)
            packet.Release();
        Lend(port, next, new LentPacket[1]).Should().Be(0);
        now.Should().OnlyContain(packet => packet.IsLent);

        foreach (LentPacket packet in now)
            packet.Release();
        queue.Deactivate();
        next.Deactivate();
    }

    internal static DeviceVirtqueue Start(GuestMemory memory, RawSplitRing ring)
    {
        VirtqueueSetup setup = new(
            1,
            (uint)ring.Size,
            new UserAddress(ring.DescriptorTable.Value + GuestRam.UserOffset),
            new UserAddress(ring.AvailableRing.Value + GuestRam.UserOffset),
            new UserAddress(ring.UsedRing.Value + GuestRam.UserOffset),
            0,
            VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors);
        return DeviceVirtqueue.TryActivate(memory, setup, null, out _, out string why) ?? throw new InvalidOperationException(why);
    }

    private static NetPort Port()
    {
        NetPort port = new(0, classify: false, isApplications: true);
        port.Configure(VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors);
        return port;
    }

    private static RawSplitRing LongChains(GuestMemory memory, int size)
    {
        RawSplitRing ring = new(memory, 0, size);
        for (int i = 0; i < size; i++)
            ring.DescriptorAt(Table + (16UL * (ulong)i), Bytes, 65536u / (uint)size, i + 1 < size ? RawSplitRing.Next : (ushort)0, (ushort)(i + 1));
        for (int i = 0; i < size; i++)
        {
            ring.Descriptor(i, Table, 16u * (uint)size, RawSplitRing.Indirect);
            ring.Offer((ushort)i);
        }

        return ring;
    }

    private static RawSplitRing OneBuffer(GuestMemory memory, ulong at, int size)
    {
        RawSplitRing ring = new(memory, at, size);
        ring.Descriptor(0, Bytes, 72);
        for (int i = 0; i < size; i++)
            ring.Offer(0);
        return ring;
    }

    private static int Lend(NetPort port, DeviceVirtqueue queue, Memory<LentPacket> packets)
    {
        int lent = 0;
        port.Process(queue, new Handler(own => lent = own.LendBurst(packets.Span)));
        return lent;
    }

    private sealed class Handler(Action<NetPort> fromGuest) : INetHandler
    {
        public void FromGuest(NetPort port) => fromGuest(port);

        public void ToGuest(NetPort port) => throw new NotSupportedException();
    }
}
