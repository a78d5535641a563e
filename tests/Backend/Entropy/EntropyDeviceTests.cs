using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>What a driver that is written by hand gets from an entropy device.</summary>
public sealed class EntropyDeviceTests : IDisposable
{
    private const ulong Data = 0x10_0000;

    private readonly GuestMemory _memory = GuestRam.Create(0x40_0000);
    private readonly GuestMemoryLease _lease;
    private HandRing _ring = null!;
    private DeviceVirtqueue _queue = null!;

    public EntropyDeviceTests() => _lease = _memory.Acquire();

    public void Dispose()
    {
        _queue.Deactivate();
        _ring.Dispose();
        _lease.Dispose();
        _memory.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Buffers_are_filled_each_with_other_bytes(bool packed)
    {
        EntropyDevice device = Start(packed);
        _ring.Offer(deviceWrites: true, (Data, 64));
        _ring.Offer(deviceWrites: true, (Data + 0x1000, 40), (Data + 0x2000, 24));
        _ring.Offer(deviceWrites: true, (Data + 0x4000, 10_000));

        Serve(device);

        _ring.Used.Select(used => used.Length).Should().Equal(64u, 64u, 10_000u);
        byte[] first = Get(Data, 64);
        byte[] second = [.. Get(Data + 0x1000, 40), .. Get(Data + 0x2000, 24)];
        first.Should().NotEqual(second).And.Contain(value => value != 0);
        Get(Data + 0x1000 + 40, 16).Should().AllBeEquivalentTo(0, "only the buffer is written");
        byte[] third = Get(Data + 0x4000, 10_000);
        third[..4096].Should().NotEqual(third[4096..8192]);
        third[9_900..].Should().Contain(value => value != 0);
        (device.Requests, device.Bytes).Should().Be((3, 10_128));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void R09_A_request_that_cannot_be_filled_comes_back_empty(bool packed)
    {
        EntropyDevice device = Start(packed);
        _ring.Offer(deviceWrites: false, (Data, 64));
        _ring.OfferMixed(1, (Data, 64), (Data + 0x1000, 8));

        Serve(device);

        _ring.Used.Select(used => used.Length).Should().Equal(0u, 8u);
        Get(Data, 64).Should().AllBeEquivalentTo(0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_long_buffer_gets_as_much_as_one_request_may_have(bool packed)
    {
        EntropyDevice device = Start(packed, most: 100);
        _ring.Offer(deviceWrites: true, (Data, 0x10_0000));

        Serve(device);

        _ring.Used.Select(used => used.Length).Should().Equal(100u);
        Get(Data + 100, 100).Should().AllBeEquivalentTo(0);
    }

    [Fact]
    public void A_turn_ends_however_much_is_asked_for()
    {
        EntropyDevice device = Start(packed: false);
        for (int i = 0; i < 100; i++)
            _ring.Offer(deviceWrites: true, (Data, 8));

        Serve(device);

        device.Requests.Should().Be(64);
        Serve(device);
        _ring.Used.Should().HaveCount(100);
    }

    [Fact]
    public void Nothing_is_allocated()
    {
        EntropyDevice device = Start(packed: false);
        Turn(20);

        Allocations.OfThisThread(() => Turn(20)).Should().Be(0);

        long Turn(int turns)
        {
            long others = 0;
            for (int i = 0; i < turns; i++)
            {
                long start = GC.GetAllocatedBytesForCurrentThread();
                _ring.Offer(deviceWrites: true, (Data, 5000));
                others += GC.GetAllocatedBytesForCurrentThread() - start;
                Serve(device);
            }

            return others;
        }
    }

    /// <summary>Other queues may wait for the thread.</summary>
    [Fact]
    public void A_turn_gives_no_more_than_about_a_mebibyte()
    {
        EntropyDevice device = Start(packed: false, most: 1 << 20);
        for (int i = 0; i < 8; i++)
            _ring.Offer(deviceWrites: true, (Data, 1 << 20));

        device.Process(_queue);

        device.Requests.Should().Be(1);
        FluentActions.Invoking(() => new EntropyDevice { MaxBytesPerRequest = (1 << 20) + 1 }).Should().Throw<ArgumentOutOfRangeException>();
        FluentActions.Invoking(() => new EntropyDevice { MaxBytesPerRequest = 0 }).Should().Throw<ArgumentOutOfRangeException>();
    }

    private EntropyDevice Start(bool packed, int most = 64 << 10)
    {
        _ring = HandRing.Create(_memory, 0x1000, 128, packed);
        _queue = DeviceVirtqueue.TryActivate(_memory, _ring.Setup(0, VirtioFeatures.Version1), null, out _, out string why) ?? throw new InvalidOperationException(why);
        return new EntropyDevice { MaxBytesPerRequest = most };
    }

    private void Serve(EntropyDevice device)
    {
        device.Process(_queue);
        _queue.Flush();
    }

    private byte[] Get(ulong at, int count)
    {
        byte[] bytes = new byte[count];
        _lease.TryCopyTo(new GuestAddress(at), bytes).Should().BeTrue();
        return bytes;
    }
}
