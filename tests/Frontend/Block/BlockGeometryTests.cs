using Vhost.Protocol;

namespace Vhost.Frontend.Tests;

public sealed class BlockGeometryTests
{
    private const VirtioBlkFeatures All =
        VirtioBlkFeatures.BlockSize | VirtioBlkFeatures.SizeMax | VirtioBlkFeatures.Discard | VirtioBlkFeatures.WriteZeroes;

    [Fact]
    public void Without_features_only_the_capacity_counts()
    {
        BlockGeometry geometry = BlockGeometry.From(Config(), VirtioBlkFeatures.None, 65536);
        geometry.BlockSize.Should().Be(512);
        geometry.CapacityBytes.Should().Be(2048 * 512);
        geometry.MaxTransfer.Should().Be(65536);
        geometry.MaxDiscard.Should().Be(0);
        geometry.MaxWriteZeroes.Should().Be(0);
    }

    [Fact]
    public void Limits_are_the_devices_in_whole_blocks()
    {
        BlockGeometry geometry = BlockGeometry.From(Config() with { SizeMax = 10_000 }, All, 65536);
        geometry.BlockSize.Should().Be(4096);
        geometry.MaxTransfer.Should().Be(8192);
        geometry.MaxDiscard.Should().Be(96 * 512);
        geometry.MaxWriteZeroes.Should().Be(96 * 512);
    }

    [Fact]
    public void A_size_max_of_zero_is_no_limit() =>
        BlockGeometry.From(Config() with { SizeMax = 0 }, All, 65536).MaxTransfer.Should().Be(65536);

    [Theory]
    [InlineData(0u)]
    [InlineData(256u)]
    [InlineData(1000u)]
    [InlineData(2u << 20)]
    [InlineData(uint.MaxValue)]
    public void A_block_size_that_cannot_be_is_refused(uint blockSize) =>
        FluentActions.Invoking(() => BlockGeometry.From(Config() with { BlockSize = blockSize }, All, 65536))
            .Should().Throw<VhostUserProtocolException>().WithMessage($"*blk_size {blockSize}*").Which.Violation.Should().Be(VhostUserViolation.BadValue);

    [Theory]
    [InlineData((1ul << 54) + 1)]
    [InlineData(ulong.MaxValue)]
    public void A_capacity_that_cannot_be_counted_in_bytes_is_refused(ulong capacity) =>
        FluentActions.Invoking(() => BlockGeometry.From(Config() with { Capacity = capacity }, All, 65536))
            .Should().Throw<VhostUserProtocolException>().WithMessage("*capacity*");

    [Theory]
    [InlineData(0ul, 0ul, true)]
    [InlineData(0ul, 1048576ul, true)]
    [InlineData(1048576ul, 0ul, true)]
    [InlineData(1048576ul, 4096ul, false)]
    [InlineData(4096ul, 1048576ul, false)]
    [InlineData(ulong.MaxValue - 4095, 8192ul, false)]
    [InlineData(512ul, 4096ul, false)]
    [InlineData(4096ul, 512ul, false)]
    public void Ranges_are_whole_blocks_inside_the_disk(ulong offset, ulong length, bool inside)
    {
        BlockGeometry geometry = BlockGeometry.From(Config(), All, 65536);
        Action check = () => geometry.RequireInside(offset, length);
        if (inside)
            check.Should().NotThrow();
        else
            check.Should().Throw<ArgumentException>();
    }

    [Fact]
    public void Options_out_of_range_are_refused_by_name()
    {
        Refused(new BlockClientOptions { Queues = 0 }, "*Queues 0*1 to 256*");
        Refused(new BlockClientOptions { QueueSize = 100 }, "*QueueSize 100*power of two*");
        Refused(new BlockClientOptions { QueueSize = 2 }, "*QueueSize 2*");
        Refused(new BlockClientOptions { IndirectBuffers = 300 }, "*IndirectBuffers 300*");
        Refused(new BlockClientOptions { BufferSize = 1000 }, "*BufferSize 1000*");
        Refused(new BlockClientOptions { RequestTimeout = TimeSpan.Zero }, "*RequestTimeout*");
        Refused(new BlockClientOptions { RingFeatures = VirtioFeatures.AccessPlatform }, "*RingFeatures*");
        new BlockClientOptions { RequestTimeout = Timeout.InfiniteTimeSpan }.Validate();

        static void Refused(BlockClientOptions options, string message) =>
            FluentActions.Invoking(options.Validate).Should().Throw<ArgumentException>().WithMessage(message);
    }

    [Fact]
    public void A_polled_client_asks_for_no_event_index_and_an_indirect_one_for_tables()
    {
        new BlockClientOptions().ForSession().WantedFeatures.Should().HaveFlag(VirtioFeatures.EventIndex);
        new BlockClientOptions { Polled = true }.ForSession().WantedFeatures.Should().NotHaveFlag(VirtioFeatures.EventIndex);
        new BlockClientOptions { IndirectBuffers = 4 }.ForSession().WantedFeatures.Should().HaveFlag(VirtioFeatures.IndirectDescriptors);
        new BlockClientOptions { UnwantedFeatures = (VirtioFeatures)(ulong)VirtioBlkFeatures.Discard }.ForSession()
            .WantedFeatures.Should().NotHaveFlag((VirtioFeatures)(ulong)VirtioBlkFeatures.Discard);
    }

    private static VirtioBlkConfig Config() => new()
    {
        Capacity = 2048,
        BlockSize = 4096,
        SizeMax = 65536,
        MaxDiscardSectors = 100,
        DiscardSectorAlignment = 32,
        MaxWriteZeroesSectors = 100,
    };
}
