using Vhost.Protocol;

namespace Vhost.Frontend.Tests.Iommu;

/// <summary>The list of mappings by itself.</summary>
public sealed class IommuMappingsTests
{
    private const ulong Page = IommuMappings.PageSize;

    [Theory]
    [InlineData(1UL, 0UL, Page, 3, "I/O virtual address 0x1")]
    [InlineData(0UL, 1UL, Page, 3, "guest address 0x1")]
    [InlineData(0UL, 0UL, 0UL, 3, "size 0x0")]
    [InlineData(0UL, 0UL, 5000UL, 3, "size 0x1388")]
    [InlineData(ulong.MaxValue - (Page - 1), 0UL, 2 * Page, 3, "not pass 2^64")]
    [InlineData(0UL, ulong.MaxValue - (Page - 1), 2 * Page, 3, "not pass 2^64")]
    [InlineData(0UL, 0UL, Page, 0, "permission 0")]
    [InlineData(0UL, 0UL, Page, 4, "permission 4")]
    [InlineData(4 * Page, 0UL, Page, 3, "overlaps the mapping")]
    [InlineData(5 * Page, 0UL, Page, 3, "lies in the mapping")]
    [InlineData(3 * Page, 0UL, 2 * Page, 3, "overlaps the mapping")]
    [InlineData(0UL, 0UL, 100 * Page, 3, "overlaps the mapping")]
    public void What_cannot_be_mapped_is_named(ulong address, ulong guest, ulong size, byte permission, string complaint)
    {
        IommuMappings iommu = new();
        iommu.Map(new(4 * Page), new(0), 2 * Page);
        iommu.Invoking(one => one.Map(new(address), new(guest), size, (VhostUserIotlbPermission)permission)).Should().Throw<ArgumentException>().WithMessage($"*{complaint}*");
        iommu.Count.Should().Be(1);
    }

    [Fact]
    public async Task Only_whole_mappings_are_taken_away()
    {
        IommuMappings iommu = new();
        iommu.Map(new(4 * Page), new(0), 2 * Page);
        iommu.Map(new(8 * Page), new(0), 2 * Page);
        foreach ((ulong first, ulong pages) in new[] { (5UL, 10UL), (0UL, 5UL), (4UL, 1UL), (4UL, 5UL), (5UL, 1UL) })
            await iommu.Awaiting(one => one.UnmapAsync(new(first * Page), pages * Page).AsTask()).Should().ThrowAsync<ArgumentException>();
        iommu.Count.Should().Be(2);
        await iommu.UnmapAsync(new(6 * Page), 2 * Page);
        iommu.Count.Should().Be(2);
        await iommu.UnmapAsync(new(0), 100 * Page);
        iommu.Count.Should().Be(0);
        await iommu.UnmapAsync(new(0), ulong.MaxValue - (Page - 1));
    }

    [Fact]
    public void Answers_are_no_larger_than_was_chosen_and_as_large_as_the_mapping_else()
    {
        IommuMappings pages = new() { LargestTranslation = Page };
        pages.Map(new(16 * Page), new(Page), 3 * Page, VhostUserIotlbPermission.ReadOnly);
        pages.Translate(new((18 * Page) + 5), VhostUserIotlbPermission.ReadOnly).Should().Be(new IommuTranslation(new(18 * Page), new(3 * Page), Page, VhostUserIotlbPermission.ReadOnly));
        pages.Translate(new(16 * Page), VhostUserIotlbPermission.ReadWrite).Should().BeNull();
        pages.Translate(new((16 * Page) - 1), VhostUserIotlbPermission.ReadOnly).Should().BeNull();
        pages.Translate(new(19 * Page), VhostUserIotlbPermission.ReadOnly).Should().BeNull();
        (pages.Lookups, pages.Faults).Should().Be((4, 3));

        IommuMappings all = new();
        all.Map(new(ulong.MaxValue - (Page - 1)), new(0), Page);
        all.Translate(new(ulong.MaxValue), VhostUserIotlbPermission.WriteOnly)!.Value.Size.Should().Be(Page);
    }
}
