using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>The device's half on a packed ring that a hostile driver writes.</summary>
public sealed partial class PackedDeviceTests : IDisposable
{
    private const ulong Data = 0x10_0000;
    private const ushort UsedOnFirstTurn = RawPackedRing.Available | RawPackedRing.Used;

    private readonly GuestMemory _memory = GuestRam.Create(0x20_0000);
    private readonly EventNotifier _call = new();
    private RawPackedRing _ring;
    private DeviceVirtqueue _device;

    public PackedDeviceTests()
    {
        _ring = new RawPackedRing(_memory, 0, 4);
        _device = Activate(_ring, VirtioFeatures.IndirectDescriptors);
    }

    public void Dispose()
    {
        _device.Deactivate();
        _ring.Dispose();
        _call.Dispose();
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue();
    }

    [Fact]
    [Shows(Counterpart.Script, VirtioFeatures.RingPacked)]
    public void A_chain_is_used_where_it_started_and_its_other_descriptors_are_skipped()
    {
        _ring.Offer(1, Data + 0x100, 8, id: 3, RawPackedRing.Write);
        _ring.Offer(0, Data, 4, id: 0, RawPackedRing.Next);
        _ring.Put(Data, 0xABCDu);

        _device.TryPop(out DescriptorChain chain).Should().BeTrue();
        chain.Head.Should().Be(3, "the id stands in the last descriptor");
        chain.Readable.TryRead(out uint value).Should().BeTrue();
        value.Should().Be(0xABCD);
        chain.Writable.Fill(1);
        _device.Complete(chain, 8);
        (_ring.At(0).Flags & UsedOnFirstTurn).Should().Be(RawPackedRing.Available, "nothing is shown before the flush");
        _device.Flush();

        _ring.At(0).Should().Be(((ushort)3, 8u, (ushort)(UsedOnFirstTurn | RawPackedRing.Write)));
        _device.Base.Should().Be(0x8002_8002);
        _call.TryConsume().Should().BeTrue();
    }

    [Fact]
    public void Whoever_asks_from_outside_sees_how_far_it_has_come_and_what_is_left()
    {
        for (ushort i = 0; i < 3; i++)
            _ring.Offer(i, Data, 4, i, RawPackedRing.Write);
        (_device.ShownPosition, _device.CountShown()).Should().Be((0x8000_8000u, 3));

        _device.TryPop(out DescriptorChain chain).Should().BeTrue();
        _device.CountShown().Should().Be(2, "what was fetched and not handed out is offered still");
        _device.Complete(chain, 1);
        _device.Flush();
        (_device.ShownPosition, _device.CountShown()).Should().Be((0x8001_8003u, 2));

        _device.Deactivate();
        _device.CountShown().Should().Be(0);
    }

    [Fact]
    public async Task Whoever_asks_while_the_ring_moves_sees_a_position_of_the_ring()
    {
        using CancellationTokenSource stop = new();
        DeviceVirtqueue device = _device;
        Task<bool> asking = Task.Run(() =>
        {
            bool right = true;
            while (!stop.IsCancellationRequested)
                right &= (device.ShownPosition & 0x7FFF) < 4 && ((device.ShownPosition >> 16) & 0x7FFF) < 4 && device.CountShown() is >= 0 and <= 4;
            return right;
        });
        for (int i = 0; i < 20000; i++)
        {
            _ring.Offer(i % 4, Data, 4, (ushort)(i % 4), RawPackedRing.Write, wrap: i % 8 < 4);
            _device.TryPop(out DescriptorChain chain).Should().BeTrue();
            _device.Complete(chain, 1);
            _device.Flush();
        }

        await stop.CancelAsync();
        (await asking.InTime()).Should().BeTrue();
    }

    [Theory]
    [InlineData(0x0000_8000u, 0x8000_8000u)] // the low half alone: both positions are the same
    [InlineData(0x8001_8003u, 0x8001_8003u)] // one to three are in flight elsewhere
    [InlineData(0x0002_0002u, 0x0002_0002u)] // second turn
    public void B18_bases_of_both_forms_are_taken(uint said, uint expected)
    {
        _device.Deactivate();
        _device = Activate(_ring, VirtioFeatures.None, said);
        _device.Base.Should().Be(expected);
    }

    [Theory]
    [InlineData(0x8004u)]
    [InlineData(0x8004_8000u)]
    [InlineData(0xFFFF_FFFFu)]
    public void B18_bases_beyond_the_ring_are_refused(uint said)
    {
        DeviceVirtqueue.TryActivate(_memory, Setup(_ring, VirtioFeatures.None, said), null, out VhostUserViolation violation, out string why).Should().BeNull();
        violation.Should().Be(VhostUserViolation.BadValue);
        why.Should().Contain("base 0x");
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(32769u)]
    public void B14_sizes_out_of_range_are_refused(uint size)
    {
        VirtqueueSetup setup = Setup(_ring, VirtioFeatures.None, 0x80008000) with { Size = size };
        DeviceVirtqueue.TryActivate(_memory, setup, null, out VhostUserViolation violation, out string why).Should().BeNull();
        violation.Should().Be(VhostUserViolation.BadQueueSize);
        why.Should().Contain("1 to 32768");
    }

    [Fact]
    public void Chains_that_were_fetched_and_not_handed_out_are_available_again_after_a_stop()
    {
        for (ushort i = 0; i < 3; i++)
        {
            _ring.Offer(i, Data, 4, i);
        }

        _device.TryPop(out DescriptorChain chain).Should().BeTrue();
        _device.Complete(chain, 0);
        _device.Flush();

        _device.Base.Should().Be(0x8001_8001, "one was used, two were not looked at as far as anybody can tell");
    }

    [Fact]
    public void What_is_available_is_counted_by_chain_for_one_turn_at_most()
    {
        _device.CountAvailable(9).Should().Be(0);
        _ring.Offer(1, Data + 0x100, 8, id: 3, RawPackedRing.Write);
        _ring.Offer(0, Data, 4, id: 0, RawPackedRing.Next);
        _ring.Offer(2, Data, 4, id: 1);
        _device.CountAvailable(9).Should().Be(2);
        _device.CountAvailable(1).Should().Be(1);
        _ring.Offer(3, Data, 4, id: 2, RawPackedRing.Next);
        _device.CountAvailable(9).Should().Be(2, "the last chain has no end");
    }

    [Fact]
    public void Serving_allocates_nothing()
    {
        Restart(256, VirtioFeatures.EventIndex);
        int place = 0;
        bool wrap = true;
        Serve(3000);

        Allocations.OfThisThread(() => Serve(20_000)).Should().Be(0);

        void Serve(int count)
        {
            for (int i = 0; i < count; i++)
            {
                _ring.Offer(place, Data, 4, (ushort)place, RawPackedRing.Write, wrap);
                _device.TryPop(out DescriptorChain chain);
                _device.Complete(chain, 4);
                _device.Flush();
                place = (place + 1) % 256;
                wrap ^= place == 0;
            }
        }
    }

    private static VirtqueueSetup Setup(RawPackedRing ring, VirtioFeatures features, uint said) => new(
        0,
        (uint)ring.Size,
        new UserAddress(ring.DescriptorRing.Value + GuestRam.UserOffset),
        new UserAddress(ring.DriverArea.Value + GuestRam.UserOffset),
        new UserAddress(ring.DeviceArea.Value + GuestRam.UserOffset),
        said,
        features | VirtioFeatures.RingPacked);

    private void Restart(int size, VirtioFeatures features, bool deviceReadsOnly = false)
    {
        _device.Deactivate();
        _ring.Dispose();
        _ring = new RawPackedRing(_memory, 0x4_0000, size);
        _device = Activate(_ring, features, deviceReadsOnly: deviceReadsOnly);
        for (int i = 0; i < size; i++)
        {
            _ring.Descriptor(i, 0, 0, 0, 0);
        }

        _ring.DriverEvent = 0;
    }

    private DeviceVirtqueue Activate(RawPackedRing ring, VirtioFeatures features, uint said = 0x8000_8000, bool deviceReadsOnly = false) =>
        DeviceVirtqueue.TryActivate(_memory, Setup(ring, features, said) with { DeviceReadsOnly = deviceReadsOnly }, _call, out _, out string why) ?? throw new InvalidOperationException(why);
}
