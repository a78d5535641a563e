using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Iommu;

/// <summary>The clients of the library and its devices with an IOMMU between them.</summary>
public sealed class IommuClientTests
{
    private const int Size = 1 << 20;

    private static readonly VhostUserBackendOptions _options = new() { AdditionalFeatures = VirtioFeatures.AccessPlatform, DrainTimeout = TimeSpan.FromSeconds(5) };

    [Theory]
    [InlineData(QueueDispatch.Async, VirtioFeatures.EventIndex, 4096UL)]
    [InlineData(QueueDispatch.DedicatedThread, VirtioFeatures.None, 4096UL)]
    [InlineData(QueueDispatch.Async, VirtioFeatures.RingPacked | VirtioFeatures.EventIndex, 4096UL)]
    [InlineData(QueueDispatch.Async, VirtioFeatures.InOrder, 4096UL)]
    [InlineData(QueueDispatch.BusyPoll, VirtioFeatures.RingPacked | VirtioFeatures.InOrder, ulong.MaxValue)]
    public async Task A_disk_behind_an_iommu_has_what_was_written(QueueDispatch dispatch, VirtioFeatures ring, ulong page)
    {
        using MemoryStorage storage = new(Size);
        IommuMappings iommu = new() { LargestTranslation = page };
        BlockClientOptions client = new() { Queues = 2, Iommu = iommu, RingFeatures = ring, IndirectBuffers = 8 };
        await using (BlockLoopback loopback = await BlockLoopback.StartAsync(new BlockDevice(storage, new BlockDeviceOptions { Queues = 2 }), client, _options with { Dispatch = dispatch }).InTime())
        {
            byte[] data = new byte[Size];
            new Random(7).NextBytes(data);

            await Task.WhenAll(Enumerable.Range(0, 64).Select(i => loopback.Client.WriteAsync((ulong)(i * (Size / 64)), data.AsMemory(i * (Size / 64), Size / 64)).AsTask())).InTime();
            byte[] read = new byte[Size];
            for (int at = 0; at < Size; at += Size / 16)
                await loopback.Client.ReadAsync((ulong)at, read.AsMemory(at, Size / 16)).InTime();

            read.AsSpan().SequenceEqual(data).Should().BeTrue();
            loopback.Client.Frontend.UsesIommu.Should().BeTrue();
            IotlbStatistics statistics = loopback.Backend.GetIotlbStatistics();
            statistics.Updates.Should().BePositive().And.Be(iommu.Lookups - iommu.Faults);
            statistics.Entries.Should().BePositive();
            iommu.Faults.Should().Be(0);
        }

        iommu.Count.Should().Be(0, "the client has taken its mappings away");
        await iommu.UnmapAsync(new IoVirtualAddress(0), IommuMappings.PageSize).InTime(); // and nobody waits for it
    }

    [Theory]
    [InlineData(QueueDispatch.Application, VirtioFeatures.EventIndex)]
    [InlineData(QueueDispatch.Application, VirtioFeatures.RingPacked | VirtioFeatures.InOrder)]
    public async Task Packets_of_a_card_behind_an_iommu_arrive_in_order(QueueDispatch dispatch, VirtioFeatures ring)
    {
        PacketPool pool = new(400);
        NetClientOptions client = new() { Iommu = new IommuMappings { LargestTranslation = 4096 }, RingFeatures = ring };
        await using NetLoopback net = await NetLoopback.StartAsync(client, dispatch: dispatch, options: _options);

        await Task.Run(() => new PacketTraffic(n => 16 + (int)(n * 37 % 1400)).Pump(pool, 3000, 32, (packets, count) => net.Sender.SendBurst(packets.AsSpan(0, count)), packets => net.Port.DequeueBurst(packets))).InTime();
        await Task.Run(() => new PacketTraffic(n => 16 + (int)(n * 37 % 1400)).Pump(pool, 3000, 32, (packets, count) => net.Port.EnqueueBurst(packets.AsSpan(0, count)), packets => net.Receiver.ReceiveBurst(packets))).InTime();

        net.Client.Frontend.UsesIommu.Should().BeTrue();
        net.Backend.GetIotlbStatistics().Misses.Should().BePositive();
        net.Port.FromGuest.Errors.Should().Be(0);
    }
}
