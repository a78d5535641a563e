using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>A packed ring of the back-end without a sin, descriptor by descriptor.</summary>
public sealed class HandPackedTests
{
    private const VirtioFeatures Packed = HandDialogue.Plain | VirtioFeatures.RingPacked;
    private const int Size = 7;
    private const ushort Used = RawPackedRing.Available | RawPackedRing.Used;

    [Fact]
    public async Task Chains_go_round_a_ring_that_is_stopped_between_them()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend, Packed);
        using RawPackedRing ring = new(front.Ram, 0x2000, Size);
        await StartAsync(front, ring, 0x8000_8000);

        await FlushAsync(front, ring, at: 0, wrap: true, id: 5);
        await FlushAsync(front, ring, at: 3, wrap: true, id: 6);
        (await front.StopAsync()).Num.Should().Be(0x8006_8006);
        await StartAsync(front, ring, 0x8006_8006);
        await FlushAsync(front, ring, at: 6, wrap: true, id: 1);
        (await front.StopAsync()).Num.Should().Be(0x0002_0002);

        await StartAsync(front, ring, 0x0002);
        await FlushAsync(front, ring, at: 2, wrap: false, id: 2);
        (await front.StopAsync()).Num.Should().Be(0x0005_0005);
    }

    [Fact]
    public async Task Calls_are_made_as_the_driver_area_says()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend, Packed | VirtioFeatures.EventIndex);
        using RawPackedRing ring = new(front.Ram, 0x2000, Size);
        ring.DriverEvent = 1 << 16;
        await StartAsync(front, ring, 0x8000_8000);
        await FlushAsync(front, ring, at: 0, wrap: true, id: 0);
        await Eventually.TrueAsync(() => ring.DeviceEvent == (0x8003 | (2 << 16)));
        front.Call.TryConsume().Should().BeFalse();

        ring.DriverEvent = 0x8006 | (2 << 16);
        await FlushAsync(front, ring, at: 3, wrap: true, id: 0);
        await Eventually.TrueAsync(() => ring.DeviceEvent == (0x8006 | (2 << 16)));
        front.Call.TryConsume().Should().BeFalse();
        await FlushAsync(front, ring, at: 6, wrap: true, id: 0);
        await Eventually.TrueAsync(front.Call.TryConsume);
    }

    private static async Task StartAsync(HandDialogue front, RawPackedRing ring, uint position)
    {
        VhostUserVringAddress address = new(
            0, 0, User(ring.DescriptorRing), User(ring.DeviceArea), User(ring.DriverArea), 0);
        (await front.SayAsync(VhostUserRequest.SetVringNum, new VhostUserVringState(0, Size))).Should().Be(0);
        (await front.SayAsync(VhostUserRequest.SetVringBase, new VhostUserVringState(0, position))).Should().Be(0);
        (await front.SayAsync(VhostUserRequest.SetVringAddr, address)).Should().Be(0);
        (await front.SayAsync(VhostUserRequest.SetVringCall, new VhostUserVringDescriptor(0), front.Call.Descriptor)).Should().Be(0);
        (await front.SayAsync(VhostUserRequest.SetVringKick, new VhostUserVringDescriptor(0), front.Kick.Descriptor)).Should().Be(0);
        (await front.SayAsync(VhostUserRequest.SetVringEnable, new VhostUserVringState(0, 1))).Should().Be(0);
    }

    /// <summary>A flush in three descriptors, across the end where it must; its identifier is in the last of them alone.</summary>
    private static async Task FlushAsync(HandDialogue front, RawPackedRing ring, int at, bool wrap, ushort id)
    {
        (int Index, bool Wrap) Place(int i) => at + i < Size ? (at + i, wrap) : (at + i - Size, !wrap);
        ring.Put(HandDialogue.HeaderAt, (uint)VirtioBlkRequestType.Flush);
        ring.Offer(Place(2).Index, HandDialogue.StatusAt, 1, id, RawPackedRing.Write, Place(2).Wrap);
        ring.Offer(Place(1).Index, HandDialogue.HeaderAt + 8, 8, 77, RawPackedRing.Next, Place(1).Wrap);
        ring.Offer(at, HandDialogue.HeaderAt, 8, 78, RawPackedRing.Next, wrap);
        front.Kick.Signal();

        await Eventually.TrueAsync(() => (ring.At(at).Flags & Used) == (wrap ? Used : 0));
        ring.At(at).Id.Should().Be(id);
        ring.At(at).Length.Should().Be(1);
    }

    private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);
}
