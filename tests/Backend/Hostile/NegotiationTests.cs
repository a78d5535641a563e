using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

[Collection(ProcessCounts.Name)]
public class NegotiationTests
{
    [Fact]
    public Task B24_A_feature_that_was_not_offered_is_refused() => HostileBench.AttackAsync(lines: 3, async frontend =>
    {
        ulong offered = await frontend.AskU64Async(VhostUserRequest.GetFeatures);
        foreach (VirtioFeatures bit in new[] { VirtioFeatures.RingPacked, VirtioFeatures.AccessPlatform, (VirtioFeatures)(1UL << 63) })
        {
            ((VirtioFeatures)offered & bit).Should().Be(VirtioFeatures.None);
            await frontend.RefusedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(offered | (ulong)bit));
        }
    });

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetFeatures, VhostUserRequest.SetFeatures)]
    public async Task B24_Features_stay_as_they_are_while_a_ring_is_started()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            ulong features = await frontend.AskU64Async(VhostUserRequest.GetFeatures);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await frontend.RefusedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features & ~(ulong)VirtioFeatures.EventIndex));
            await frontend.RefusedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(0));
            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features));
            await ring.EchoAsync(1);
            bench.Device.Acknowledged.Should().HaveFlag(VirtioFeatures.EventIndex).And.NotHaveFlag(VirtioFeatures.VhostUserProtocolFeatures);
            await frontend.StopAsync(ring);
            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features & ~(ulong)VirtioFeatures.EventIndex));
            bench.Device.Acknowledged.Should().NotHaveFlag(VirtioFeatures.EventIndex);
        }

        await bench.CheckInvariantsAsync(lines: 2);
    }

    [Fact]
    public Task B24_Protocol_features_need_bit_30_offered_not_acknowledged() => HostileBench.AttackAsync(lines: 0, async frontend =>
    {
        ulong features = await frontend.AskU64Async(VhostUserRequest.GetFeatures);
        await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features & ~(ulong)VirtioFeatures.VhostUserProtocolFeatures));
        ulong protocol = await frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures);
        await frontend.AcceptedAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64(protocol));
    });

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetProtocolFeatures, VhostUserRequest.SetProtocolFeatures)]
    public Task B25_A_protocol_feature_that_was_not_offered_is_refused_and_nothing_changes() => HostileBench.AttackAsync(lines: 4, async frontend =>
    {
        ulong offered = await frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures);
        VhostUserProtocolFeatures[] never = new[]
        {
            VhostUserProtocolFeatures.InbandNotifications, VhostUserProtocolFeatures.XenMmap, VhostUserProtocolFeatures.PageFault,
            (VhostUserProtocolFeatures)(1UL << 63),
        };
        foreach (VhostUserProtocolFeatures bit in never)
        {
            (offered & (ulong)bit).Should().Be(0);
            await frontend.RefusedAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64(offered | (ulong)bit));
        }

        await frontend.AcceptedAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64(offered));
    });

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetOwner, VhostUserProtocolFeatures.ReplyAck)]
    public async Task B25_Protocol_features_may_be_set_without_asking_for_them_first()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.ConnectAsync())
        {
            await frontend.SendAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64((ulong)VhostUserProtocolFeatures.ReplyAck));
            await frontend.AcceptedAsync(VhostUserRequest.SetOwner);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(256)]
    [Shows(Counterpart.Script, VhostUserRequest.GetQueueNum, VhostUserProtocolFeatures.MultiQueue)]
    public async Task GET_QUEUE_NUM_answers_how_many_queues_there_are(int queues)
    {
        await using SessionBench bench = await SessionBench.StartAsync(new EchoDevice(queues));
        RawFrontend frontend = bench.Frontend;
        (await frontend.AskU64Async(VhostUserRequest.GetQueueNum)).Should().Be((ulong)queues);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringNum, RawFrontend.State((uint)queues - 1, TestRing.Size));
        await frontend.RefusedAsync(VhostUserRequest.SetVringNum, RawFrontend.State((uint)queues, TestRing.Size));
    }

    /// <summary>The front-ends of network devices count so.</summary>
    [Theory]
    [InlineData(1, false)]
    [InlineData(1, true)]
    [InlineData(3, true)]
    public async Task GET_QUEUE_NUM_of_a_network_device_answers_how_many_pairs_there_are(int pairs, bool withControlQueue)
    {
        await using SessionBench bench = await SessionBench.StartAsync(new NetDevice(new NetDeviceOptions { QueuePairs = pairs, ControlQueue = withControlQueue }));
        (await bench.Frontend.AskU64Async(VhostUserRequest.GetQueueNum)).Should().Be((ulong)pairs);
    }

    [Fact]
    public async Task GET_QUEUE_NUM_is_answered_where_MQ_is_offered_and_nothing_is_acknowledged_yet()
    {
        await using SessionBench bench = new();
        ((VhostUserProtocolFeatures)await bench.Frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures)).Should().HaveFlag(VhostUserProtocolFeatures.MultiQueue);
        (await bench.Frontend.AskU64Async(VhostUserRequest.GetQueueNum)).Should().Be(2);
    }

    [Fact]
    public async Task A_device_without_configuration_space_does_not_offer_it()
    {
        await using HostileBench bench = await HostileBench.StartAsync(new EchoDevice { ConfigLength = 0 });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            VhostUserProtocolFeatures offered = (VhostUserProtocolFeatures)await frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures);
            offered.Should().NotHaveFlag(VhostUserProtocolFeatures.Config);
            await frontend.RefusedAsync(VhostUserRequest.SetConfig, RawFrontend.Bytes(new VhostUserConfig(0, 0, 0)));
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Theory]
    [InlineData(0u, 0u, 0)]
    [InlineData(0u, 65u, 65)]
    [InlineData(64u, 1u, 1)]
    [InlineData(uint.MaxValue, 8u, 8)]
    [InlineData(0u, 256u, 256)]
    [InlineData(0u, 257u, 8)]
    [InlineData(0u, uint.MaxValue, 8)]
    [InlineData(0u, 16u, 8)]
    [InlineData(0u, 8u, 16)]
    [Shows(Counterpart.Script, VhostUserRequest.GetConfig)]
    public Task B30_A_range_of_configuration_space_that_does_not_exist_gets_an_empty_reply(uint offset, uint size, int sent) =>
        HostileBench.AttackAsync(lines: 2, async frontend =>
        {
            byte[] payload = ConfigPayload(offset, size, 0, sent);
            (await frontend.AskAsync(VhostUserRequest.GetConfig, payload)).Should().BeEmpty();
            await frontend.RefusedAsync(VhostUserRequest.SetConfig, payload);
            (await frontend.AskAsync(VhostUserRequest.GetConfig, ConfigPayload(0, 64, 0, 64))).Should().HaveCount(76);
        });

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetConfig, VhostUserProtocolFeatures.Config)]
    public Task B30_Fields_and_flags_of_a_write_are_checked() => HostileBench.AttackAsync(lines: 2, async frontend =>
    {
        await frontend.AcceptedAsync(VhostUserRequest.SetConfig, ConfigPayload(32, 1, 0, 1, fill: 0xaa));
        await frontend.RefusedAsync(VhostUserRequest.SetConfig, ConfigPayload(0, 8, 0, 8, fill: 0xbb));
        await frontend.AcceptedAsync(VhostUserRequest.SetConfig, ConfigPayload(0, 8, 1, 8, fill: 0xcc));
        await frontend.RefusedAsync(VhostUserRequest.SetConfig, ConfigPayload(32, 1, 8, 1));
        byte[] config = (await frontend.AskAsync(VhostUserRequest.GetConfig, ConfigPayload(0, 64, 0, 64)))[12..];
        config[..8].Should().AllBeEquivalentTo((byte)0xcc);
        config[32].Should().Be(0xaa);
    });

    /// <summary>They mean nothing in a read: 1 and 2 are what rust-vmm and crosvm call writable and migration, and their front-ends say.</summary>
    [Theory]
    [InlineData(0u, 76)]
    [InlineData(1u, 76)]
    [InlineData(2u, 76)]
    [InlineData(3u, 0)]
    [InlineData(0x100u, 0)]
    [InlineData(uint.MaxValue, 0)]
    public Task B30_Flags_of_a_read_that_nobody_has_defined_get_an_empty_reply(uint flags, int expected) => HostileBench.AttackAsync(lines: expected == 0 ? 1 : 0, async frontend =>
    {
        (await frontend.AskAsync(VhostUserRequest.GetConfig, ConfigPayload(0, 64, flags, 64))).Should().HaveCount(expected);
        await frontend.BarrierAsync();
    });

    private static byte[] ConfigPayload(uint offset, uint size, uint flags, int window, byte fill = 0)
    {
        byte[] payload = new byte[VhostUserConfig.HeaderSize + window];
        new VhostUserConfig(offset, size, (VhostUserConfigFlags)flags).Write(payload);
        payload.AsSpan(VhostUserConfig.HeaderSize).Fill(fill);
        return payload;
    }
}
