using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>What a packed ring's part of an in-flight area says to make the next back-end work without end.</summary>
public sealed class PackedLeftTests : IDisposable
{
    private const ulong AreaAt = 0x4000;
    private const ulong TableAt = 0x1_0000;
    private const uint Size = 128;
    private const int Left = 100;

    private readonly GuestMemory _memory = GuestRam.Create(0x20_0000);
    private readonly RawPackedRing _ring;

    public PackedLeftTests()
    {
        _ring = new RawPackedRing(_memory, 0, (int)Size);
        Put(InflightLayout.VersionAt, InflightLayout.Version);
        Put(InflightLayout.EntriesAt, (ushort)Size);
        Put<ushort>(InflightLayout.PackedFreeAt, Left);
        Put<ushort>(InflightLayout.PackedOldFreeAt, Left);
        Put<byte>(InflightLayout.PackedUsedWrapAt, 1);
        Put<byte>(InflightLayout.PackedOldUsedWrapAt, 1);
        for (uint entry = 0; entry < Size; entry++)
            Put(InflightLayout.PackedAt(entry) + InflightLayout.PackedNextAt, (ushort)(entry + 1));
    }

    public void Dispose()
    {
        _ring.Dispose();
        _memory.Dispose();
        _memory.Released.IsCompleted.Should().BeTrue();
    }

    /// <summary>Each is a table as long as the ring whose last buffer is nowhere: all together they are the square of the ring.</summary>
    [Fact]
    public void B31_requests_that_are_refused_at_their_end_share_a_turn_by_their_cost()
    {
        for (uint i = 0; i < Size; i++)
            _ring.Put(TableAt + (16 * i) + 8, 4u);
        _ring.Put(TableAt + (16 * (Size - 1)), 1UL << 40);
        for (uint i = 0; i < Left; i++)
            Leave(i, count: 1, (TableAt, 16 * Size));

        DeviceVirtqueue device = Activate();
        device.LeftByLast.Should().Be(Left);
        for (int turn = 1; device.LeftRefused < Left; turn++)
        {
            (uint cost, int refused) = (device.Cost, device.LeftRefused);
            device.TryPop(out _).Should().BeFalse();
            (device.Cost - cost).Should().BeLessThanOrEqualTo(device.MostCost + Size);
            (device.LeftRefused - refused).Should().BeInRange(1, 64);
            device.ArmKick().Should().Be(device.LeftRefused == Left, "there is more to do");
        }

        device.Fault.Should().Be(VirtqueueFault.None);
        device.Deactivate();
    }

    [Fact]
    public void B31_a_chain_of_tables_is_refused_at_the_first()
    {
        for (uint i = 0; i < Size; i++)
        {
            _ring.Put(TableAt + (16 * i), TableAt);
            _ring.Put(TableAt + (16 * i) + 8, 4u);
        }

        Leave(0, count: 3, (TableAt, 128u), (TableAt, 128u), (TableAt, 128u));
        DeviceVirtqueue device = Activate();

        device.TryPop(out _).Should().BeFalse();

        (device.LeftRefused, device.Cost).Should().Be((1, 0u));
        device.LeftRefusedDetail.Should().Contain("indirect table before the end");
        device.Deactivate();
    }

    /// <summary>The last back-end ended after it had written the second of two used descriptors, and before the first, which would have shown both.</summary>
    [Fact]
    public void What_is_taken_back_of_a_batch_that_nobody_saw_is_in_the_log()
    {
        const ulong SecondFlags = 16 + 14;
        const ushort Available = 0x0080;
        const ushort Used = 0x8080;
        using DirtyLog log = DirtyLog.Create(new GuestAddress(0x1F_FFFF));
        for (uint i = 0; i < 2; i++)
            Leave(i, count: 1, (TableAt, 16u));
        _ring.Put(14, Available);
        _ring.Put(SecondFlags, Used);

        DeviceVirtqueue device = Activate();
        _ring.Read<ushort>(SecondFlags).Should().Be(Available);
        device.SetLog(new QueueLogSetup(log, UsedRing: 0, Changed: null, WholeChains: false));

        log.IsMarked(new GuestAddress(0)).Should().BeTrue("the descriptor ring lies there");
        log.IsMarked(new GuestAddress(DirtyLog.PageSize)).Should().BeFalse();
        device.Deactivate();
    }

    private void Leave(uint first, ushort count, params ReadOnlySpan<(ulong Address, uint Length)> tables)
    {
        Put<byte>(InflightLayout.PackedAt(first) + InflightLayout.MarkAt, 1);
        Put(InflightLayout.PackedAt(first) + InflightLayout.PackedCountAt, count);
        Put(InflightLayout.PackedAt(first) + InflightLayout.CounterAt, (ulong)first);
        for (uint i = 0; i < count; i++)
        {
            ulong entry = InflightLayout.PackedAt(first + i);
            Put(entry + InflightLayout.PackedIdAt, (ushort)first);
            Put(entry + InflightLayout.PackedAddressAt, tables[(int)i].Address);
            Put(entry + InflightLayout.PackedLengthAt, tables[(int)i].Length);
            Put(entry + InflightLayout.PackedFlagsAt, RawPackedRing.Indirect);
        }
    }

    private DeviceVirtqueue Activate()
    {
        ulong size = InflightLayout.PartSize(Size, packed: true);
        MappedWindow.TryOpen(_memory, new GuestAddress(AreaAt), size, out MappedWindow window).Should().BeTrue();
        VirtqueueSetup setup = new(
            0, Size, User(_ring.DescriptorRing), User(_ring.DriverArea), User(_ring.DeviceArea), VirtqueueSetup.FreshPackedBase,
            VirtioFeatures.RingPacked | VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors);
        DeviceVirtqueue? device = DeviceVirtqueue.TryActivate(_memory, setup, null, new InflightPart(window, _memory.Acquire(), Size), out _, out string why);
        device.Should().NotBeNull(why);
        return device!;
    }

    private void Put<T>(ulong offset, T value)
        where T : unmanaged => _ring.Put(AreaAt + offset, value);

    private static UserAddress User(GuestAddress address) => new(address.Value + GuestRam.UserOffset);
}
