using Vhost.Protocol;

namespace Vhost.Backend.Tests;

public sealed class BlockConfigTests
{
    [Fact]
    public void The_configuration_space_says_what_the_device_is()
    {
        using MemoryStorage storage = new(8 << 20);
        BlockDevice device = new(storage, new BlockDeviceOptions { LogicalBlockSize = 1024, Queues = 3, MaxSegments = 62, MaxSegmentSize = 65536 });
        VirtioBlkConfig config = Read(device);
        config.Capacity.Should().Be(16384);
        config.BlockSize.Should().Be(1024);
        config.PhysicalBlockExponent.Should().Be(2);
        config.QueueCount.Should().Be(3);
        config.SegMax.Should().Be(62);
        config.SizeMax.Should().Be(65536);
        config.WriteBack.Should().Be(1);
        config.MaxDiscardSectors.Should().Be(BlockDevice.MaxRangeSectors);
        config.MaxDiscardSegments.Should().Be(BlockDevice.MaxRanges);
        config.DiscardSectorAlignment.Should().Be(2);
        config.MaxWriteZeroesSectors.Should().Be(BlockDevice.MaxZeroesSectors);
        config.WriteZeroesMayUnmap.Should().Be(1);
        device.ConfigLength.Should().Be(60);
        device.QueueCount.Should().Be(3);
    }

    [Fact]
    public void Any_window_is_served_and_what_passes_the_end_is_refused()
    {
        using NullStorage storage = new(1 << 20);
        BlockDevice device = new(storage);
        Span<byte> block = stackalloc byte[4];
        device.TryReadConfig(20, block).Should().BeTrue();
        BitConverter.ToUInt32(block).Should().Be(512);
        device.TryReadConfig(60, []).Should().BeTrue();
        device.TryReadConfig(57, block).Should().BeFalse();
        device.TryReadConfig(uint.MaxValue, block).Should().BeFalse();
    }

    [Fact]
    public void Features_follow_from_what_the_storage_can()
    {
        using CountingStorage storage = new(1 << 20) { IsReadOnly = true };
        VirtioBlkFeatures readOnly = Features(new BlockDevice(storage));
        readOnly.Should().HaveFlag(VirtioBlkFeatures.ReadOnly);
        (readOnly & (VirtioBlkFeatures.Discard | VirtioBlkFeatures.WriteZeroes)).Should().Be(VirtioBlkFeatures.None);
        Read(new BlockDevice(storage)).MaxDiscardSectors.Should().Be(0);

        using NullStorage writable = new(1 << 20);
        VirtioBlkFeatures all = Features(new BlockDevice(writable));
        all.Should().HaveFlag(VirtioBlkFeatures.Discard | VirtioBlkFeatures.WriteZeroes | VirtioBlkFeatures.Flush | VirtioBlkFeatures.MultiQueue);
        all.Should().NotHaveFlag(VirtioBlkFeatures.ReadOnly);
    }

    [Fact]
    public void Only_the_write_cache_can_be_written_and_only_with_0_or_1()
    {
        using NullStorage storage = new(1 << 20);
        BlockDevice device = new(storage);
        device.TryWriteConfig(32, [0]).Should().BeTrue();
        Read(device).WriteBack.Should().Be(0);
        device.TryWriteConfig(32, [2]).Should().BeFalse();
        device.TryWriteConfig(32, [1, 0]).Should().BeFalse();
        device.TryWriteConfig(32, []).Should().BeFalse();
        device.TryWriteConfig(0, [1]).Should().BeFalse();
        device.TryWriteConfig(31, [0, 1]).Should().BeFalse();
        Read(device).WriteBack.Should().Be(0);
        device.Reset();
        Read(device).WriteBack.Should().Be(0, "a front-end resets the device of a guest that it pauses, too");
        device.TryWriteConfig(32, [1]).Should().BeTrue();
        Read(device).WriteBack.Should().Be(1);

        BlockDevice through = new(storage, new BlockDeviceOptions { WriteCache = false });
        through.TryWriteConfig(32, [1]).Should().BeTrue();
        through.Reset();
        Read(through).WriteBack.Should().Be(0, "the next guest has what the options say");
    }

    [Fact]
    public void Restoring_takes_the_write_cache_out_of_a_whole_configuration_space()
    {
        using NullStorage storage = new(1 << 20);
        BlockDevice device = new(storage);
        byte[] saved = new byte[60];
        device.TryReadConfig(0, saved);
        saved[32] = 0;
        device.TryRestoreConfig(0, saved).Should().BeTrue();
        Read(device).WriteBack.Should().Be(0);
        device.TryRestoreConfig(0, saved.AsSpan(0, 32)).Should().BeTrue("it holds nothing that can be set");
        device.TryRestoreConfig(32, [9]).Should().BeFalse();
    }

    [Fact]
    public void The_capacity_is_whole_blocks()
    {
        using NullStorage storage = new((1 << 20) + 512);
        new BlockDevice(storage, new BlockDeviceOptions { LogicalBlockSize = 4096 }).CapacityBytes.Should().Be(1 << 20);
        using NullStorage small = new(2048);
        FluentActions.Invoking(() => new BlockDevice(small, new BlockDeviceOptions { LogicalBlockSize = 4096 })).Should().Throw<ArgumentException>().WithMessage("*2048 bytes*4096*");
    }

    [Fact]
    public async Task A_changed_length_becomes_the_capacity()
    {
        using CountingStorage storage = new(1 << 20);
        BlockDevice device = new(storage);
        await using VhostUserBackend backend = new(device);
        (await device.RefreshCapacityAsync(backend)).Should().BeFalse();
        storage.Length = 2 << 20;
        (await device.RefreshCapacityAsync(backend)).Should().BeTrue();
        device.CapacityBytes.Should().Be(2 << 20);
        storage.Length = 0;
        await FluentActions.Awaiting(async () => await device.RefreshCapacityAsync(backend)).Should().ThrowAsync<IOException>();
        device.CapacityBytes.Should().Be(2 << 20);
    }

    [Fact]
    public void Options_out_of_range_are_refused_by_name()
    {
        using NullStorage storage = new(1 << 20);
        Refused(new BlockDeviceOptions { Queues = 0 }, "*Queues 0*");
        Refused(new BlockDeviceOptions { Queues = 257 }, "*Queues 257*");
        Refused(new BlockDeviceOptions { LogicalBlockSize = 256 }, "*LogicalBlockSize 256*");
        Refused(new BlockDeviceOptions { LogicalBlockSize = 1000 }, "*LogicalBlockSize 1000*");
        Refused(new BlockDeviceOptions { MaxQueueSize = 100 }, "*MaxQueueSize 100*");
        Refused(new BlockDeviceOptions { MaxSegments = 0 }, "*MaxSegments 0*");
        Refused(new BlockDeviceOptions { MaxSegmentSize = 100 }, "*MaxSegmentSize 100*");
        Refused(new BlockDeviceOptions { Serial = "a serial that is too long" }, "*Serial*20*");
        Refused(new BlockDeviceOptions { Serial = "Ünicode" }, "*Serial*");

        void Refused(BlockDeviceOptions options, string message) =>
            FluentActions.Invoking(() => new BlockDevice(storage, options)).Should().Throw<ArgumentException>().WithMessage(message);
    }

    [Theory]
    [InlineData(511ul)]
    [InlineData(1ul << 63)]
    public void Lengths_that_are_not_sectors_are_refused(ulong length)
    {
        FluentActions.Invoking(() => new NullStorage(length)).Should().Throw<ArgumentException>();
        FluentActions.Invoking(() => new MemoryStorage(length)).Should().Throw<ArgumentException>();
    }

    private static VirtioBlkFeatures Features(BlockDevice device) => (VirtioBlkFeatures)(ulong)device.Features;

    private static VirtioBlkConfig Read(BlockDevice device)
    {
        byte[] bytes = new byte[device.ConfigLength];
        device.TryReadConfig(0, bytes).Should().BeTrue();
        VirtioBlkConfig.TryRead(bytes, out VirtioBlkConfig config).Should().BeTrue();
        return config;
    }
}
