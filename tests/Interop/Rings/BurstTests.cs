using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

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
        using Pair pair = new(features);
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
            pair.Collect(64).Should().Equal(Tokens(first, 40).Select(token => new DriverCompletion(token, 3, LengthClamped: false)));
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void What_is_given_back_is_taken_again(VirtioFeatures features)
    {
        using Pair pair = new(features);
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
        using Pair pair = new(features);
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
        pair.Collect(64).Select(done => done.Token).Should().Equal(Tokens(0, submitted));
    }

    [Fact]
    public void Calls_that_make_no_sense_are_refused()
    {
        using Pair pair = new(VirtioFeatures.None);
        pair.Driver.SubmitBurst(Buffers(2), deviceWrites: false, Tokens(0, 2));
        pair.Driver.Publish();

        ((Action)(() => pair.Driver.SubmitBurst(Buffers(2), deviceWrites: false, Tokens(0, 1)))).Should().Throw<ArgumentException>();
        ((Action)(() => pair.Driver.SubmitBurst([new DriverChain(1, 1, 0)], Buffers(1)))).Should().Throw<ArgumentException>();
        ((Action)(() => pair.Driver.SubmitBurst([new DriverChain(-1, 1, 0)], Buffers(1)))).Should().Throw<ArgumentException>();
        ((Action)(() => pair.Device.TakeBurst(0))).Should().Throw<ArgumentOutOfRangeException>();
        ((Action)(() => pair.Device.Complete(pair.Device.TakeBurst(), [1]))).Should().Throw<ArgumentException>();
    }

    private static GuestBuffer[] Buffers(int count) =>
        [.. Enumerable.Range(0, count).Select(i => new GuestBuffer(new GuestAddress(0x10_0000 + ((ulong)i * 256)), 100))];

    private static ulong[] Tokens(ulong first, int count) => [.. Enumerable.Range(0, count).Select(i => first + (ulong)i)];

    private sealed class Pair : IDisposable
    {
        private readonly GuestMemory _memory = GuestRam.Create(0x20_0000);
        private readonly EventNotifier _call = new();

        internal Pair(VirtioFeatures features)
        {
            Driver = DriverVirtqueue.Create(_memory, default, new DriverVirtqueueOptions { Size = Size }, features);
            Device = ModelledRing.Activate(_memory, Driver, features, _call);
        }

        internal DriverVirtqueue Driver { get; }

        internal DeviceVirtqueue Device { get; }

        public void Dispose()
        {
            Device.Deactivate();
            Driver.Dispose();
            _call.Dispose();
            _memory.Dispose();
        }

        internal DriverCompletion[] Collect(int most)
        {
            DriverCompletion[] done = new DriverCompletion[most];
            return done[..Driver.Drain(done)];
        }
    }
}
