using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>Bursts that grow, shrink, meet a fault, move to other memory, or are answered wrongly.</summary>
public sealed class BurstEdgeTests
{
    private const int Size = 128;

    public static TheoryData<VirtioFeatures> Formats => BurstTests.Formats;

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_burst_takes_as_many_as_one_thing_needs(VirtioFeatures features)
    {
        using RingPair pair = new(features, Size);
        pair.Device.Features.Should().Be(features);
        for (ulong turn = 0; turn < 5; turn++)
        {
            pair.Offer(turn * 100, 100);
            ChainBurst burst = pair.Device.TakeBurst(20);
            burst.Count.Should().Be(20);
            while (pair.Device.TryExtend(ref burst))
                pair.Device.InFlight.Should().Be(burst.Count);
            burst.Count.Should().Be(100);
            pair.Device.TryExtend(ref burst).Should().BeFalse("there are no more");
            uint[] lengths = [.. Enumerable.Range(1, 100).Select(i => (uint)i)];
            for (int i = 0; i < burst.Count; i++)
                burst.Writable(i).Length.Should().Be(100);
            pair.Device.Complete(burst, lengths);
            pair.Device.Flush();
            pair.Collect().Should().Equal(lengths.Select(length => new DriverCompletion((turn * 100) + length - 1, length, LengthClamped: false)));
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void What_a_grown_burst_does_not_need_is_taken_again_and_completed_once(VirtioFeatures features)
    {
        using RingPair pair = new(features, Size);
        pair.Offer(0, 90);
        ChainBurst burst = pair.Device.TakeBurst();
        while (pair.Device.TryExtend(ref burst))
            continue;
        pair.Device.GiveBack(50);
        pair.Device.InFlight.Should().Be(40);
        Finish(pair, burst, 40);
        pair.Collect().Select(done => done.Token).Should().Equal(RingPair.Tokens(0, 40));
        int rest = 0;
        for (ChainBurst next = pair.Device.TakeBurst(); next.Count != 0; next = pair.Device.TakeBurst())
        {
            rest += next.Count;
            pair.Device.Complete(next);
        }

        pair.Device.Flush();
        rest.Should().Be(50);
        pair.Collect().Select(done => done.Token).Should().Equal(RingPair.Tokens(40, 50));
        pair.Device.TakeBurst().Count.Should().Be(0);
    }

    [Fact]
    public void A_fault_ends_the_growing_and_what_was_taken_before_is_good()
    {
        using RingPair pair = new(VirtioFeatures.None, Size);
        pair.Offer(0, 40);
        ChainBurst burst = pair.Device.TakeBurst();
        burst.Count.Should().Be(DeviceVirtqueue.MaxBurst);
        using (EventNotifier kick = new())
        using (GuestMemoryLease lease = pair.Memory.Acquire())
        {
            GuestAddress available = pair.Driver.Describe(0, kick, call: null).AvailableRing;
            lease.TryWrite(new GuestAddress(available.Value + 2), (ushort)(40 + Size)).Should().BeTrue();
        }

        pair.Device.TryExtend(ref burst).Should().BeFalse();
        pair.Device.Fault.Should().Be(VirtqueueFault.IndexRunaway);
        pair.Device.TryExtend(ref burst).Should().BeFalse("a fault stays");
        burst.Count.Should().Be(DeviceVirtqueue.MaxBurst);
        pair.Device.Complete(burst);
        pair.Device.Flush();
        pair.Collect().Should().HaveCount(DeviceVirtqueue.MaxBurst);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_ring_that_moves_to_other_memory_goes_on_where_it_was(VirtioFeatures features)
    {
        using RingPair pair = new(features, Size);
        using GuestMemory moved = pair.Memory.With(GuestRam.Region(0x100_0000, 0x1000));
        for (ulong turn = 0; turn < 4; turn++)
        {
            pair.Offer(turn * 60, 60);
            ChainBurst burst = pair.Device.TakeBurst(10);
            ushort[] heads = new ushort[10];
            for (int i = 0; i < heads.Length; i++)
                heads[i] = burst[i].Head;
            pair.Device.Complete(heads[0], 1);
            pair.Device.ReplaceMemory(turn % 2 == 0 ? moved : pair.Memory).Should().BeTrue();
            foreach (ushort head in heads[1..])
                pair.Device.Complete(head, 1);
            int left = 0;
            for (ChainBurst next = pair.Device.TakeBurst(); next.Count != 0; next = pair.Device.TakeBurst())
            {
                left += next.Count;
                pair.Device.Complete(next, [.. Enumerable.Repeat(1u, next.Count)]);
            }

            pair.Device.Flush();
            left.Should().Be(50, "what was fetched and not taken is fetched again");
            pair.Collect().Should().Equal(RingPair.Tokens(turn * 60, 60).Select(token => new DriverCompletion(token, 1, LengthClamped: false)));
        }
    }

    /// <summary>Streamed stores go past the caches; what they publish is there all the same.</summary>
    [Theory]
    [MemberData(nameof(Formats))]
    public void Streamed_requests_arrive_like_others(VirtioFeatures features)
    {
        using RingPair pair = new(features, Size);
        pair.Driver.SubmitBurst(RingPair.Buffers(40), deviceWrites: true, RingPair.Tokens(0, 40), stream: PacketStream.IsSupported).Should().Be(40);
        pair.Driver.Publish();
        int taken = 0;
        for (ChainBurst burst = pair.Device.TakeBurst(); burst.Count != 0; burst = pair.Device.TakeBurst())
        {
            taken += burst.Count;
            burst.Writable(0).Length.Should().Be(100);
            pair.Device.Streamed = PacketStream.IsSupported;
            pair.Device.Complete(burst);
        }

        pair.Device.Flush();
        taken.Should().Be(40);
        pair.Collect().Select(done => done.Token).Should().Equal(RingPair.Tokens(0, 40));
    }

    [Theory]
    [InlineData(VirtioFeatures.InOrder, "Chain 99*not in flight*")]
    [InlineData(VirtioFeatures.RingPacked, "Buffer 99*not in flight*")]
    public void What_was_not_taken_cannot_be_completed(VirtioFeatures features, string message)
    {
        using RingPair pair = new(features, Size);
        pair.Offer(0, 3);
        pair.Device.TakeBurst();
        ((Action)(() => pair.Device.Complete(99, 0))).Should().Throw<InvalidOperationException>().WithMessage(message);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(3)]
    public void A_place_outside_of_the_burst_is_refused(int place)
    {
        using RingPair pair = new(VirtioFeatures.None, Size);
        pair.Offer(0, 3);
        Action look = () => _ = pair.Device.TakeBurst()[place].Head;
        look.Should().Throw<ArgumentOutOfRangeException>().WithMessage("*The burst has 3 chains*");
    }

    private static void Finish(RingPair pair, in ChainBurst burst, int count)
    {
        for (int i = 0; i < count; i++)
            pair.Device.Complete(burst[i], 0);
        pair.Device.Flush();
    }
}
