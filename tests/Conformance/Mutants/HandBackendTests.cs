using System.Text.RegularExpressions;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>The back-end without a sin, driven by this library's own front-end; and the list of the sins.</summary>
public sealed class HandBackendTests
{
    private const VirtioFeatures Split = VirtioFeatures.EventIndex;
    private const VirtioFeatures Flags = VirtioFeatures.None;
    private const VirtioFeatures Packed = Split | VirtioFeatures.RingPacked;
    private const VirtioFeatures PackedFlags = Flags | VirtioFeatures.RingPacked;

    [Theory]
    [InlineData(Split, 1, 128, 126)]
    [InlineData(Flags, 2, 16, 0)]
    [InlineData(Packed, 2, 128, 126)]
    [InlineData(PackedFlags, 1, 16, 0)]
    public async Task What_was_written_is_read_back(VirtioFeatures rings, int queues, ushort size, int indirect)
    {
        await using HandBackend backend = new();
        await using BlockClient client = await BlockClient.ConnectAsync(backend.SocketPath, new BlockClientOptions { RingFeatures = rings, Queues = queues, QueueSize = size, IndirectBuffers = indirect });
        byte[] written = new byte[HandDisk.Capacity];
        new Random(7).NextBytes(written);

        await client.WriteAsync(0, written);
        await client.FlushAsync();
        byte[] read = new byte[written.Length];
        await client.ReadAsync(0, read);

        read.AsSpan().SequenceEqual(written).Should().BeTrue();
        (await client.GetIdAsync()).Should().Be("hand-written");
        client.CapacityBytes.Should().Be(HandDisk.Capacity);
        client.QueueCount.Should().Be(queues);
        backend.Surprises.Should().BeEmpty();
    }

    [Theory]
    [InlineData(Split)]
    [InlineData(Packed)]
    public async Task Many_requests_go_round_the_ring(VirtioFeatures rings)
    {
        await using HandBackend backend = new();
        await using BlockClient client = await BlockClient.ConnectAsync(backend.SocketPath, new BlockClientOptions { RingFeatures = rings, Queues = 2, QueueSize = 16 });

        for (int i = 0; i < 3000; i++)
        {
            byte[] sector = new byte[512];
            BitConverter.TryWriteBytes(sector, i);
            await client.WriteAsync((ulong)(i % 100) * 512, sector);
        }

        byte[] last = new byte[512];
        await client.ReadAsync(99 * 512, last);
        BitConverter.ToInt32(last).Should().Be(2999);
        backend.Surprises.Should().BeEmpty();
    }

    [Fact]
    public async Task Front_ends_come_one_after_the_other_and_at_once()
    {
        await using HandBackend backend = new();
        await using (BlockClient first = await BlockClient.ConnectAsync(backend.SocketPath))
        {
            await first.WriteAsync(4096, new byte[] { 1 }.Concat(new byte[511]).ToArray());
            await using BlockClient second = await BlockClient.ConnectAsync(backend.SocketPath);
            byte[] beside = new byte[512];
            await second.ReadAsync(4096, beside);
            beside[0].Should().Be(1);
        }

        await using BlockClient third = await BlockClient.ConnectAsync(backend.SocketPath);
        byte[] afterwards = new byte[512];
        await third.ReadAsync(4096, afterwards);
        afterwards[0].Should().Be(1);
        backend.Surprises.Should().BeEmpty();
    }

    [Fact]
    public async Task A_read_only_disk_takes_no_writes()
    {
        await using HandBackend backend = new(readOnly: true);
        await using BlockClient client = await BlockClient.ConnectAsync(backend.SocketPath);

        client.IsReadOnly.Should().BeTrue();
        await client.ReadAsync(0, new byte[512]);
    }

    [Fact]
    public async Task The_write_cache_is_switched_and_told()
    {
        await using HandBackend backend = new();
        await using BlockClient client = await BlockClient.ConnectAsync(backend.SocketPath);

        await client.SetWriteCacheAsync(false);

        byte[] field = new byte[1];
        await client.Frontend.ReadConfigAsync(VirtioBlkConfig.WriteBackOffset, field);
        field[0].Should().Be(0);
    }

    [Fact]
    public async Task A_disk_behind_an_iommu_asks_for_what_it_needs()
    {
        await using HandBackend backend = new();
        IommuMappings iommu = new();
        await using BlockClient client = await BlockClient.ConnectAsync(
            backend.SocketPath, new BlockClientOptions { Iommu = iommu, RingFeatures = Split });
        byte[] written = new byte[64 * 1024];
        new Random(8).NextBytes(written);

        await client.WriteAsync(0, written);
        byte[] read = new byte[written.Length];
        await client.ReadAsync(0, read);

        read.Should().Equal(written);
        iommu.Lookups.Should().BePositive();
        backend.Surprises.Should().BeEmpty();
    }

    [Fact]
    public async Task The_state_goes_through_a_pipe()
    {
        await using HandBackend backend = new();
        await using VhostUserFrontend front = await VhostUserFrontend.ConnectAsync(
            backend.SocketPath, new VhostUserFrontendOptions { WantedProtocolFeatures = VhostUserProtocolFeatures.DeviceState | VhostUserProtocolFeatures.ReplyAck });
        using MemoryStream state = new();

        long saved = await front.SaveDeviceStateAsync(state);
        state.Position = 0;
        long loaded = await front.LoadDeviceStateAsync(state);

        loaded.Should().Be(saved).And.BePositive();
    }

    [Fact]
    public void Each_sin_has_a_rule_and_a_chapter()
    {
        Mutants.All.Should().HaveCountGreaterThanOrEqualTo(64).And.OnlyHaveUniqueItems(static mutant => mutant.Rule);
        Mutants.All.Should().OnlyContain(static mutant => mutant.Rule.EndsWith('.') && mutant.Rule.Length < 150);
        Mutants.Chapters.Should().BeSubsetOf(BackendSuite.Cases.Select(static one => one.Chapter));
        Mutants.Chapters.Should().BeEquivalentTo(Mutants.All.Select(static mutant => mutant.Chapter).Distinct(StringComparer.Ordinal));
    }

    [Fact]
    public void Each_sin_is_committed_somewhere()
    {
        string folder = RepositoryRoot.File("tests", "Conformance", "Mutants");
        IEnumerable<string> sources = Directory.GetFiles(folder, "Hand*.cs").Where(static file => !file.EndsWith("Tests.cs", StringComparison.Ordinal)).Select(File.ReadAllText);
        HashSet<string> used = [.. sources.SelectMany(static text => Regex.Matches(text, @"(?<=\bSin\.)\w+", RegexOptions.None, TimeSpan.FromSeconds(1)).Select(static match => match.Value))];

        Mutants.All.Select(static mutant => mutant.Name).Except(used, StringComparer.Ordinal).Should().BeEmpty();
    }
}
