using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.External;

/// <summary>DPDK's device behind an IOMMU of ours.</summary>
public sealed class TestpmdIommuTests
{
    [SkippableTheory]
    [InlineData(false, ulong.MaxValue)]
    [InlineData(true, ulong.MaxValue)]
    [InlineData(false, 2UL << 20)]
    [Shows(Counterpart.Dpdk, VhostUserRequest.IotlbMsg, VhostUserBackendRequest.IotlbMsg, VirtioFeatures.AccessPlatform)]
    public async Task Packets_come_back_once_and_unchanged_and_it_asks_for_translations(bool packed, ulong largest)
    {
        const int Packets = 200_000;
        IommuMappings iommu = new() { LargestTranslation = largest };
        await using TestpmdSession session = await TestpmdSession.WithBackendAsync(new EchoShape { Packed = packed, Iommu = iommu });

        EchoTraffic traffic = EchoTraffic.Start(session.Ports, new EchoPlan { Longest = 1518, Packets = Packets });
        await traffic.Completion;

        traffic.Returned.Should().Be(Packets);
        session.Features.Should().HaveFlag(VirtioFeatures.AccessPlatform);
        iommu.Lookups.Should().BePositive();
        iommu.Faults.Should().Be(0);
    }
}
