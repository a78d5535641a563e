using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

[Collection(ProcessCounts.Name)]
public sealed class VringTests : CountedTests
{
    /// <summary>As rust-vmm does: what was on the ring before would never be looked at.</summary>
    [Fact]
    public async Task A_back_end_that_takes_the_kicks_of_a_disabled_ring_gets_one_more_when_it_is_enabled()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        using GuestMemory memory = GuestRam.Create((0x4000_0000UL, 1UL << 20));
        await dialogue.Session.SetMemoryAsync(memory);
        using EventNotifier kick = new();
        dialogue.Backend.Misbehave = (request, _) =>
        {
            if (request.Code == VhostUserRequest.SetVringEnable)
                kick.TryConsume();
            return null;
        };

        FrontendVring ring = await dialogue.Session.StartVringAsync(new VringSettings
        {
            Index = 0,
            Size = 16,
            DescriptorTable = new(0x4000_0000),
            AvailableRing = new(0x4000_1000),
            UsedRing = new(0x4000_2000),
            Kick = kick,
        });

        kick.TryConsume().Should().BeTrue();
        await ring.SetEnabledAsync(false);
        kick.TryConsume().Should().BeFalse();
        await ring.SetEnabledAsync(true);
        kick.TryConsume().Should().BeTrue();
    }

    [Fact]
    [Shows(
        Counterpart.Script,
        VhostUserRequest.SetVringNum, VhostUserRequest.SetVringBase, VhostUserRequest.SetVringAddr, VhostUserRequest.SetVringCall,
        VhostUserRequest.SetVringKick, VhostUserRequest.SetVringEnable)]
    public async Task Rings_start_with_all_sizes_first_then_base_address_call_kick_each_and_are_enabled_at_last()
    {
        await using Dialogue dialogue = await ReadyAsync();
        int mark = dialogue.Backend.Mark();
        VringSettings[] settings = [Rings[0] with { Base = new VringBase(7) }, Rings[1] with { Base = new VringBase(0xfffe) }];
        Rings.SetIndices(0, 7, 7);
        Rings.SetIndices(1, 0xfffe, 0xfffe);
        IReadOnlyList<FrontendVring> started = await dialogue.Session.StartVringsAsync(settings);

        dialogue.Backend.Since(mark).Should().Equal(
            "SET_VRING_NUM 0,128 !",
            "SET_VRING_NUM 1,128 !",
            "SET_VRING_BASE 0,7 !",
            "SET_VRING_ADDR 0 !",
            "SET_VRING_CALL 0 +1fd !",
            "SET_VRING_KICK 0 +1fd !",
            "SET_VRING_BASE 1,65534 !",
            "SET_VRING_ADDR 1 !",
            "SET_VRING_CALL 1 +1fd !",
            "SET_VRING_KICK 1 +1fd !",
            "SET_VRING_ENABLE 0,1 !",
            "SET_VRING_ENABLE 1,1 !");
        started.Select(ring => ring.Index).Should().Equal(0, 1);
        started.Should().OnlyContain(ring => ring.IsStarted && ring.IsEnabled);
        settings[0].Kick!.TryConsume().Should().BeTrue("one kick is injected");
        settings[0].Call!.TryConsume().Should().BeFalse();
    }

    [Fact]
    public async Task Ring_addresses_go_out_as_user_addresses()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings ring = Rings[1];
        await dialogue.Session.StartVringAsync(ring);

        VhostUserVringAddress sent = dialogue.Backend.Last(VhostUserRequest.SetVringAddr).Read<VhostUserVringAddress>();
        sent.Should().Be(new VhostUserVringAddress(
            1,
            0,
            new UserAddress(ring.DescriptorTable.Value + GuestRam.UserOffset),
            new UserAddress(ring.UsedRing.Value + GuestRam.UserOffset),
            new UserAddress(ring.AvailableRing.Value + GuestRam.UserOffset),
            0));
    }

    [Fact]
    public async Task With_ACCESS_PLATFORM_ring_addresses_go_out_unchanged()
    {
        const VirtioFeatures features = VirtioFeatures.Version1 | VirtioFeatures.AccessPlatform | VirtioFeatures.VhostUserProtocolFeatures;
        await using Dialogue dialogue = await Dialogue.StartAsync(
            new BackendOffer { Features = features }, new VhostUserFrontendOptions { WantedFeatures = features });
        VringSettings ring = Rings[0] with { DescriptorTable = new GuestAddress(0xffff_0000_0000) };
        await dialogue.Session.StartVringAsync(ring);
        dialogue.Backend.Last(VhostUserRequest.SetVringAddr).Read<VhostUserVringAddress>().DescriptorTable.Value.Should().Be(0xffff_0000_0000);
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetVringErr)]
    public async Task The_eventfds_that_arrive_are_the_ones_given()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings ring = Rings[0] with { Error = new EventNotifier() };
        using EventNotifier error = ring.Error;
        await dialogue.Session.StartVringAsync(ring);

        foreach ((VhostUserRequest code, EventNotifier given) in new[]
        {
            (VhostUserRequest.SetVringCall, ring.Call!), (VhostUserRequest.SetVringErr, error), (VhostUserRequest.SetVringKick, ring.Kick!),
        })
        {
            given.TryConsume();
            using EventNotifier theirs = EventNotifier.Duplicate(dialogue.Backend.Last(code).Descriptors[0]);
            theirs.Signal();
            given.TryConsume().Should().BeTrue("{0} carried it", code);
        }
    }

    [Fact]
    public async Task Without_REPLY_ACK_one_barrier_ends_the_start()
    {
        await using Dialogue dialogue = await ReadyAsync(new BackendOffer().Without(VhostUserProtocolFeatures.ReplyAck));
        int mark = dialogue.Backend.Mark();
        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0]);
        dialogue.Backend.Since(mark).Should().Equal(
            "SET_VRING_NUM 0,128",
            "SET_VRING_BASE 0,0",
            "SET_VRING_ADDR 0",
            "SET_VRING_CALL 0 +1fd",
            "SET_VRING_KICK 0 +1fd",
            "SET_VRING_ENABLE 0,1",
            "GET_FEATURES");

        mark = dialogue.Backend.Mark();
        await ring.SetEnabledAsync(false);
        dialogue.Backend.Since(mark).Should().Equal("SET_VRING_ENABLE 0,0", "GET_FEATURES");
    }

    [Fact]
    public async Task Without_bit_30Rings_are_enabled_by_their_start_and_cannot_be_disabled()
    {
        await using Dialogue dialogue = await ReadyAsync(new BackendOffer { Features = VirtioFeatures.Version1 });
        int mark = dialogue.Backend.Mark();
        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0]);
        ring.IsEnabled.Should().BeTrue();
        await ring.Invoking(r => r.SetEnabledAsync(false).AsTask()).Should().ThrowAsync<VhostUserFeatureException>().WithMessage("*bit 30*");
        await ring.StopAsync();
        dialogue.Backend.Since(mark).Should().NotContain(line => line.Contains("ENABLE", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_polled_ring_has_no_descriptors_and_a_spare_one_is_not_enabled()
    {
        await using Dialogue dialogue = await ReadyAsync();
        int mark = dialogue.Backend.Mark();
        FrontendVring ring = await dialogue.Session.StartVringAsync(TestRings.Bare(0) with { Enabled = false });
        dialogue.Backend.Since(mark).Should().ContainInOrder("SET_VRING_CALL 0,none !", "SET_VRING_KICK 0,none !").And.HaveCount(5);
        ring.IsEnabled.Should().BeFalse();

        mark = dialogue.Backend.Mark();
        await ring.SetEnabledAsync(true);
        ring.IsEnabled.Should().BeTrue();
        await ring.SetEnabledAsync(false);
        dialogue.Backend.Since(mark).Should().Equal("SET_VRING_ENABLE 0,1 !", "SET_VRING_ENABLE 0,0 !");
    }

    /// <summary>As a hypervisor does with pairs of queues that its guest turns on and off.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_ring_that_starts_again_is_enabled_as_it_was(bool enabled)
    {
        await using Dialogue dialogue = await ReadyAsync();
        FrontendVring ring = await dialogue.Session.StartVringAsync(TestRings.Bare(0) with { Enabled = !enabled });
        await ring.SetEnabledAsync(enabled);
        VringBase at = await ring.StopAsync();

        ring = await dialogue.Session.StartVringAsync(ring.Settings with { Base = at });

        ring.IsEnabled.Should().Be(enabled);
    }

    [Fact]
    public async Task The_call_eventfd_may_change_while_the_ring_runs()
    {
        await using Dialogue dialogue = await ReadyAsync();
        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0]);
        using EventNotifier other = new();
        int mark = dialogue.Backend.Mark();
        await ring.SetCallAsync(other);
        await ring.SetCallAsync(null);
        dialogue.Backend.Since(mark).Should().Equal("SET_VRING_CALL 0 +1fd !", "SET_VRING_CALL 0,none !");
        ring.Settings.Call.Should().BeNull();
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetVringBase)]
    public async Task A_ring_stops_after_it_is_disabled_and_starts_again_where_it_stopped()
    {
        await using Dialogue dialogue = await ReadyAsync(new BackendOffer { Base = 300 });
        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0]);
        Rings.SetIndices(0, available: 310, used: 300);
        int mark = dialogue.Backend.Mark();
        VringBase stoppedAt = await ring.StopAsync();

        dialogue.Backend.Since(mark).Should().Equal("SET_VRING_ENABLE 0,0 !", "GET_VRING_BASE 0,0");
        stoppedAt.Should().Be(new VringBase(300));
        ring.IsStarted.Should().BeFalse();
        ring.IsEnabled.Should().BeFalse();
        dialogue.Session.Summary.Rings.Should().BeEmpty();
        await ring.Invoking(r => r.StopAsync().AsTask()).Should().ThrowAsync<InvalidOperationException>();
        await ring.Invoking(r => r.SetEnabledAsync(true).AsTask()).Should().ThrowAsync<InvalidOperationException>();

        mark = dialogue.Backend.Mark();
        await dialogue.Session.StartVringAsync(ring.Settings with { Base = stoppedAt });
        dialogue.Backend.Since(mark).Should().Contain("SET_VRING_BASE 0,300 !");
    }

    [Theory]
    [InlineData(VhostUserRequest.SetVringNum, 0)]
    [InlineData(VhostUserRequest.SetVringAddr, 0)]
    [InlineData(VhostUserRequest.SetVringKick, 0)]
    [InlineData(VhostUserRequest.SetVringEnable, 1)]
    public async Task A_refused_start_leaves_no_ring_running(VhostUserRequest refused, int stopped)
    {
        await using Dialogue dialogue = await ReadyAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == refused ? Misbehaviour.Reply(refused, BitConverter.GetBytes(22UL)) : null;
        int mark = dialogue.Backend.Mark();
        VhostUserRejectedException failure = (await dialogue.Session.Invoking(session => session.StartVringsAsync([Rings[0]]).AsTask())
            .Should().ThrowAsync<VhostUserRejectedException>()).Which;

        failure.ReplyCode.Should().Be(22);
        failure.RequestCode.Should().Be((uint)refused);
        if (refused == VhostUserRequest.SetVringNum)
            failure.Message.Should().StartWith($"Ring 0: the back-end refused size {Rings[0].Size}.");
        dialogue.Backend.Since(mark).Count(line => line.StartsWith("GET_VRING_BASE", StringComparison.Ordinal)).Should().Be(stopped);
        dialogue.Session.Summary.Rings.Should().BeEmpty();

        dialogue.Backend.Misbehave = null;
        await dialogue.Session.StartVringAsync(Rings[0]);
    }

    /// <summary>What stops a ring is the question for its base.</summary>
    [Fact]
    public async Task A_refused_start_leaves_no_ring_running_also_when_the_back_end_refuses_to_disable_it()
    {
        await using Dialogue dialogue = await ReadyAsync();
        dialogue.Backend.Misbehave = (request, _) =>
            request.Code == VhostUserRequest.SetVringEnable && (request.First == 1 || request.Second == 0)
                ? Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL))
                : null;
        await dialogue.Session.Invoking(session => session.StartVringsAsync([Rings[0], Rings[1]]).AsTask())
            .Should().ThrowAsync<VhostUserRejectedException>().WithMessage("*SET_VRING_ENABLE*");
        dialogue.Backend.Transcript.Should().ContainInOrder("SET_VRING_ENABLE 1,1 !", "SET_VRING_ENABLE 0,0 !", "GET_VRING_BASE 0,0");
        dialogue.Session.Summary.Rings.Should().BeEmpty();
    }

    [Fact]
    public async Task A_refused_second_ring_stops_the_first_again()
    {
        await using Dialogue dialogue = await ReadyAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.SetVringKick && request.First == 1
            ? Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL))
            : null;
        await dialogue.Session.Invoking(session => session.StartVringsAsync([Rings[0], Rings[1]]).AsTask())
            .Should().ThrowAsync<VhostUserRejectedException>();
        dialogue.Backend.Transcript.Should().ContainInOrder("SET_VRING_KICK 1 +1fd !", "GET_VRING_BASE 0,0");
        dialogue.Session.Summary.Rings.Should().BeEmpty();
    }

    [Fact]
    public async Task What_no_back_end_could_accept_is_refused_before_anything_is_sent()
    {
        await using Dialogue dialogue = await ReadyAsync();
        int mark = dialogue.Backend.Mark();
        VringSettings good = TestRings.Bare(0);
        foreach ((VringSettings bad, string why) in new[]
        {
            (good with { Index = 256 }, "255"),
            (good with { Index = -1 }, "255"),
            (good with { Size = 0 }, "power of two"),
            (good with { Size = 100 }, "power of two"),
            (good with { Size = 32769 }, "32768"),
            (good with { DescriptorTable = new GuestAddress(0x100008) }, "aligned to 16"),
            (good with { AvailableRing = new GuestAddress(0x100001) }, "aligned to 2"),
            (good with { UsedRing = new GuestAddress(0x100002) }, "aligned to 4"),
            (good with { UsedRing = new GuestAddress(0x10) }, "used ring"),
            (good with { AvailableRing = new GuestAddress(0x1ffffe) }, "available ring"),
            (good with { DescriptorTable = new GuestAddress(ulong.MaxValue - 15) }, "descriptor table"),
        })
        {
            await dialogue.Session.Invoking(session => session.StartVringAsync(bad).AsTask())
                .Should().ThrowAsync<ArgumentException>().WithMessage($"*{why}*");
        }

        await dialogue.Session.Invoking(session => session.StartVringsAsync([good, good]).AsTask())
            .Should().ThrowAsync<ArgumentException>().WithMessage("*twice*");
        dialogue.Backend.Since(mark).Should().BeEmpty();

        await dialogue.Session.StartVringAsync(good);
        await dialogue.Session.Invoking(session => session.StartVringAsync(good).AsTask())
            .Should().ThrowAsync<InvalidOperationException>().WithMessage("*started already*");
    }

    [Fact]
    public async Task WhileRings_run_only_LOG_ALL_may_change()
    {
        await using Dialogue dialogue = await ReadyAsync();
        await dialogue.Session.StartVringAsync(Rings[0]);
        VirtioFeatures now = dialogue.Session.AcknowledgedFeatures;
        await dialogue.Session.SetFeaturesAsync(now | VirtioFeatures.LogAll);
        await dialogue.Session.SetFeaturesAsync(now);
        await dialogue.Session.Invoking(session => session.SetFeaturesAsync(now & ~VirtioFeatures.EventIndex).AsTask())
            .Should().ThrowAsync<InvalidOperationException>().WithMessage("*LOG_ALL*");
    }

    [Fact]
    public async Task With_STATUS_the_driver_is_announced_onceRings_run()
    {
        VhostUserFrontendOptions options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.Status };
        await using Dialogue dialogue = await ReadyAsync(new BackendOffer().With(VhostUserProtocolFeatures.Status), options);
        await dialogue.Session.StartVringAsync(Rings[0]);
        await dialogue.Session.StartVringAsync(Rings[1]);
        dialogue.Backend.Transcript.Where(line => line.Contains("0xf", StringComparison.Ordinal)).Should().Equal("SET_STATUS 0xf !");
        dialogue.Backend.Transcript.Should().ContainInOrder("SET_VRING_ENABLE 0,1 !", "SET_STATUS 0xf !");
    }

    [Fact]
    public async Task F19_a_spammed_call_eventfd_does_not_disturb_the_session()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings settings = Rings[0];
        FrontendVring ring = await dialogue.Session.StartVringAsync(settings);
        using EventNotifier call = EventNotifier.Duplicate(dialogue.Backend.Last(VhostUserRequest.SetVringCall).Descriptors[0]);
        for (int i = 0; i < 10_000; i++)
            call.Signal();
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
        settings.Call!.TryConsume().Should().BeTrue();
        settings.Call.TryConsume().Should().BeFalse("any number of calls is one wake-up");
        await ring.StopAsync();
    }

    private async Task<Dialogue> ReadyAsync(BackendOffer? offer = null, VhostUserFrontendOptions? options = null)
    {
        Dialogue dialogue = await Dialogue.StartAsync(offer, options);
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        return dialogue;
    }
}
