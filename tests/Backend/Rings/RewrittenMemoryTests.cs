using System.Diagnostics;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>
/// Descriptors that change while the device takes them, in numbers. Memory stands between guard pages, so that a check of one value and a use of another ends the process.
/// VHOST_TEST_DESCRIPTORS makes the run longer.
/// </summary>
public sealed class RewrittenMemoryTests
{
    private readonly byte[] _buffer = new byte[0x4000];

    public static TheoryData<RewrittenShape, ulong> Rings()
    {
        TheoryData<RewrittenShape, ulong> data = [];
        foreach (RewrittenShape shape in Enum.GetValues<RewrittenShape>())
        {
            foreach (VirtioFeatures features in (VirtioFeatures[])[VirtioFeatures.None, VirtioFeatures.InOrder, VirtioFeatures.RingPacked, VirtioFeatures.RingPacked | VirtioFeatures.InOrder])
                data.Add(shape, (ulong)features);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void R08_chains_taken_one_by_one_are_values_that_were_written(RewrittenShape shape, ulong features)
    {
        using RewrittenRing ring = new(shape, (VirtioFeatures)features, nearWritable: false, farWritable: true);

        Serve(ring, device =>
        {
            int count = 0;
            while (device.TryPop(out DescriptorChain chain))
            {
                Use(ring, chain.Head, chain.Readable, chain.Writable);
                device.Complete(chain, 0);
                count++;
            }

            return count;
        });
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void R08_bursts_of_chains_are_values_that_were_written(RewrittenShape shape, ulong features)
    {
        using RewrittenRing ring = new(shape, (VirtioFeatures)features, nearWritable: false, farWritable: true);

        Serve(ring, device =>
        {
            ChainBurst burst = device.TakeBurst();
            for (int i = 0; i < burst.Count; i++)
                Use(ring, burst[i].Head, burst.Readable(i), burst.Writable(i));
            device.Complete(burst);
            return burst.Count;
        });
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void R08_a_chain_that_is_detached_is_the_one_that_was_taken(RewrittenShape shape, ulong features)
    {
        using RewrittenRing ring = new(shape, (VirtioFeatures)features, nearWritable: false, farWritable: true);

        Serve(ring, device =>
        {
            ChainBurst burst = device.TakeBurst();
            for (int i = 0; i < burst.Count; i++)
            {
                DescriptorChain chain = burst[i];
                DetachedChain detached = chain.Detach();
                if (detached.Readable.Length != chain.Readable.Length || detached.Writable.Length != chain.Writable.Length)
                    Assert.Fail($"chain {chain.Head}: taken with {chain.Readable.Length} and {chain.Writable.Length} bytes, detached with {detached.Readable.Length} and {detached.Writable.Length}");
                Use(ring, detached.Head, detached.Readable, detached.Writable);
                detached.Complete(0);
            }

            return burst.Count;
        });
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void R08_packets_from_a_guest_are_whole_whatever_it_rewrites(RewrittenShape shape, ulong features)
    {
        using RewrittenRing ring = new(shape, (VirtioFeatures)features, nearWritable: false, farWritable: false);
        PacketBuffer[] packets = new PacketBuffer[32];
        new PacketPool(256).RentBurst(packets);
        NetPort port = new(0, classify: true, isApplications: true);
        port.Configure((VirtioFeatures)features | VirtioFeatures.Version1);
        PortCalls calls = new();

        Serve(
            ring,
            device =>
            {
                int count = 0;
                calls.FromGuestCalled = own => count = own.DequeueBurst(packets);
                port.Process(device, calls);
                foreach (PacketBuffer packet in packets.AsSpan(0, count))
                {
                    int length = packet.CopyTo(_buffer);
                    uint whole = (uint)length + VirtioNetHeader.Size;
                    if (whole < RewrittenRing.NearLength || whole > 4 * (RewrittenRing.FarLength + RewrittenRing.Size))
                        Assert.Fail($"a packet of {length} bytes");
                    if (shape == RewrittenShape.Single && _buffer.AsSpan(0, length).ContainsAnyExcept(_buffer[0]))
                        Assert.Fail($"a packet of {length} bytes from two places");
                }

                return count;
            },
            index: 1);

        port.FromGuest.Packets.Should().BePositive();
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void R08_packets_for_a_guest_go_only_where_it_lets_them(RewrittenShape shape, ulong features)
    {
        using RewrittenRing ring = new(shape, (VirtioFeatures)features, nearWritable: true, farWritable: true);
        PacketBuffer[] packets = new PacketBuffer[32];
        new PacketPool(256).RentBurst(packets);
        for (int i = 0; i < packets.Length; i++)
            packets[i].TryCopyFrom(new byte[i % 8 == 0 ? 9000 : 40 + i]).Should().BeTrue();
        NetPort port = new(0, classify: true, isApplications: true);
        port.Configure((VirtioFeatures)features | VirtioFeatures.Version1 | (VirtioFeatures)(ulong)VirtioNetFeatures.MergeableBuffers);
        PortCalls calls = new();

        Serve(ring, device =>
        {
            int count = 0;
            calls.ToGuestCalled = own => count = own.EnqueueBurst(packets);
            port.Process(device, calls);
            return count;
        });

        port.ToGuest.Packets.Should().BePositive();
    }

    /// <summary>Lets a device take chains until there were enough, and starts it anew after each fault.</summary>
    private static void Serve(RewrittenRing ring, Func<DeviceVirtqueue, int> turn, int index = 0)
    {
        // On a busy machine the other thread may come late: the run goes on until addresses and lengths of different values have met.
        long started = Stopwatch.GetTimestamp();
        bool met = false;
        long taken = 0;
        while (taken < GuardedRam.Descriptors || (!met && Stopwatch.GetElapsedTime(started) < Eventually.Deadline))
        {
            DeviceVirtqueue device = ring.Start(index);
            try
            {
                for (int turns = 0; turns < 4096 && device.Fault == VirtqueueFault.None; turns++)
                {
                    ring.Offer(device);
                    taken += turn(device);
                    device.Flush();
                }

                met |= device.Fault is VirtqueueFault.BufferOutsideMemory or VirtqueueFault.BadIndirectTable;
            }
            finally
            {
                device.Deactivate();
            }
        }

        met.Should().BeTrue("lengths and addresses of different values meet, and are refused where they lead outside");
    }

    /// <summary>Looks at the lengths, reads what is readable, and writes what is writable with what is there anyway.</summary>
    private void Use(RewrittenRing ring, ushort head, GuestBuffers readable, GuestBuffers writable)
    {
        if (!ring.IsOneOfTheValues(head, readable.Length, writable.Length))
            Assert.Fail($"a mix: chain {head} with {readable.Length} readable and {writable.Length} writable bytes");
        int copied = readable.CopyTo(_buffer);
        if (copied != (int)Math.Min(readable.Length, (uint)_buffer.Length))
            Assert.Fail($"{copied} of {readable.Length} bytes read");
        if (writable.Length > 0)
            writable.Slice(writable.Length - 1).Fill(RewrittenRing.FarByte);
    }

    private sealed class PortCalls : INetHandler
    {
        public Action<NetPort>? FromGuestCalled { get; set; }

        public Action<NetPort>? ToGuestCalled { get; set; }

        public void FromGuest(NetPort port) => FromGuestCalled!(port);

        public void ToGuest(NetPort port) => ToGuestCalled!(port);
    }
}
