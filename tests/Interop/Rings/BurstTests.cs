using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>Many chains in one call, on both halves of one ring.</summary>
public sealed class BurstTests
{
    private const int Size = 64;

    public static TheoryData<VirtioFeatures> Formats => new(
        VirtioFeatures.None,
        VirtioFeatures.InOrder,
        VirtioFeatures.EventIndex,
        VirtioFeatures.RingPacked,
        VirtioFeatures.RingPacked | VirtioFeatures.InOrder);

    [Theory]
    [MemberData(nameof(Formats))]
    public void Bursts_come_back_whole_in_order_and_with_their_lengths(VirtioFeatures features)
    {
        using RingPair pair = new(features, Size);
        for (ulong turn = 0; turn < 50; turn++)
        {
            ulong first = turn * 40;
            pair.Driver.SubmitBurst(Buffers(40), deviceWrites: true, Tokens(first, 40)).Should().Be(40);
            pair.Driver.Publish();
            int taken = 0;
            while (taken < 40)
            {
                ChainBurst burst = pair.Device.TakeBurst(24);
                uint[] lengths = new uint[burst.Count];
                for (int i = 0; i < burst.Count; i++)
                    lengths[i] = (uint)burst.Writable(i).CopyFrom([(byte)(taken + i), 1, 2]);
                pair.Device.Complete(burst, lengths);
                taken += burst.Count;
            }

            pair.Device.Flush();
            pair.Collect().Should().Equal(Tokens(first, 40).Select(token => new DriverCompletion(token, 3, LengthClamped: false)));
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void What_is_given_back_is_taken_again(VirtioFeatures features)
    {
        using RingPair pair = new(features, Size);
        pair.Driver.SubmitBurst(Buffers(20), deviceWrites: false, Tokens(0, 20)).Should().Be(20);
        pair.Driver.Publish();
        ChainBurst burst = pair.Device.TakeBurst(10);
        burst.Count.Should().Be(10);
        ushort fifth = burst[4].Head;

        pair.Device.GiveBack(6);
        pair.Device.InFlight.Should().Be(4);
        ChainBurst again = pair.Device.TakeBurst(1);

        again[0].Head.Should().Be(fifth);
        ((Action)(() => pair.Device.GiveBack(100))).Should().Throw<ArgumentOutOfRangeException>();
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Chains_of_several_buffers_go_in_one_call_as_far_as_there_is_room(VirtioFeatures features)
    {
        using RingPair pair = new(features, Size);
        DriverChain[] chains = [.. Enumerable.Range(0, 30).Select(i => new DriverChain(1, 2, (ulong)i))];

        int submitted = pair.Driver.SubmitBurst(chains, Buffers(90));
        pair.Driver.Publish();
        ChainBurst burst = pair.Device.TakeBurst();

        submitted.Should().Be(Size / 3);
        burst.Count.Should().Be(submitted);
        burst.Readable(0).Length.Should().Be(100);
        burst[0].Writable.Length.Should().Be(200);
        pair.Device.Complete(burst);
        pair.Device.Flush();
        pair.Collect().Select(done => done.Token).Should().Equal(Tokens(0, submitted));
    }

    [Fact]
    public void Calls_that_make_no_sense_are_refused()
    {
        using RingPair pair = new(VirtioFeatures.None, Size);
        pair.Driver.SubmitBurst(Buffers(2), deviceWrites: false, Tokens(0, 2));
        pair.Driver.Publish();

        ((Action)(() => pair.Driver.SubmitBurst(Buffers(2), deviceWrites: false, Tokens(0, 1)))).Should().Throw<ArgumentException>();
        ((Action)(() => pair.Driver.SubmitBurst([new DriverChain(1, 1, 0)], Buffers(1)))).Should().Throw<ArgumentException>();
        ((Action)(() => pair.Driver.SubmitBurst([new DriverChain(-1, 1, 0)], Buffers(1)))).Should().Throw<ArgumentException>();
        ((Action)(() => pair.Device.TakeBurst(0))).Should().Throw<ArgumentOutOfRangeException>();
        ((Action)(() => pair.Device.Complete(pair.Device.TakeBurst(), [1]))).Should().Throw<ArgumentException>();
    }

    private static GuestBuffer[] Buffers(int count) => RingPair.Buffers(count);

    private static ulong[] Tokens(ulong first, int count) => RingPair.Tokens(first, count);
}
