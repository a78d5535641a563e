using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

[Collection(ProcessCounts.Name)]
public sealed class NegotiationTests : CountedTests
{
    private const VirtioFeatures Usual = VirtioFeatures.Version1 | VirtioFeatures.EventIndex | VirtioFeatures.IndirectDescriptors;
    private const VirtioFeatures Bit30 = VirtioFeatures.VhostUserProtocolFeatures;

    [Fact]
    [Shows(
        Counterpart.Script,
        VhostUserRequest.GetFeatures, VhostUserRequest.SetFeatures, VhostUserRequest.SetOwner, VhostUserRequest.GetProtocolFeatures,
        VhostUserRequest.SetProtocolFeatures, VhostUserRequest.GetQueueNum, VhostUserRequest.GetMaxMemSlots, VhostUserProtocolFeatures.MultiQueue,
        VhostUserProtocolFeatures.ReplyAck)]
    public async Task Full_negotiation_is_in_the_safest_order_with_acknowledgements_from_the_moment_they_are_agreed()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();

        dialogue.Backend.Transcript.Should().Equal(
            "SET_OWNER",
            "GET_FEATURES",
            "GET_PROTOCOL_FEATURES",
            "SET_PROTOCOL_FEATURES 0xa229",
            "GET_QUEUE_NUM",
            "GET_MAX_MEM_SLOTS",
            "SET_BACKEND_REQ_FD +1fd !",
            "SET_FEATURES 0x170000000 !");
        dialogue.Session.AcknowledgedFeatures.Should().Be(Usual | Bit30);
        dialogue.Session.ProtocolFeatures.Should().Be(BackendOffer.UsualProtocol);
        dialogue.Session.OfferedFeatures.Should().Be(dialogue.Backend.Offer.Features);
        dialogue.Session.OfferedProtocolFeatures.Should().Be(dialogue.Backend.Offer.Protocol);
    }

    [Fact]
    public async Task Every_request_has_flags_1_or_9()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        dialogue.Backend.Requests.Should().OnlyContain(request => (uint)request.Flags == 0x1 || (uint)request.Flags == 0x9);
    }

    [Fact]
    public async Task Without_bit_30_no_protocol_message_is_sent_and_GET_FEATURES_is_the_barrier()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer { Features = Usual });

        dialogue.Backend.Transcript.Should().Equal("SET_OWNER", "GET_FEATURES", "SET_FEATURES 0x130000000", "GET_FEATURES");
        dialogue.Session.ProtocolFeatures.Should().Be(VhostUserProtocolFeatures.None);
        dialogue.Session.MaxMemorySlots.Should().Be(8);
    }

    [Fact]
    public async Task Without_REPLY_ACK_nothing_asks_for_an_acknowledgement()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().Without(VhostUserProtocolFeatures.ReplyAck));

        dialogue.Backend.Transcript.Should().Equal(
            "SET_OWNER",
            "GET_FEATURES",
            "GET_PROTOCOL_FEATURES",
            "SET_PROTOCOL_FEATURES 0xa221",
            "GET_QUEUE_NUM",
            "GET_MAX_MEM_SLOTS",
            "SET_BACKEND_REQ_FD +1fd",
            "SET_FEATURES 0x170000000",
            "GET_FEATURES");
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetStatus, VhostUserRequest.GetStatus, VhostUserProtocolFeatures.Status)]
    public async Task With_STATUS_the_features_are_announced_and_checked()
    {
        VhostUserFrontendOptions options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.Status };
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(VhostUserProtocolFeatures.Status), options);

        dialogue.Backend.Transcript.Should().ContainInConsecutiveOrder("SET_FEATURES 0x170000000 !", "SET_STATUS 0xb !", "GET_STATUS");
        (await dialogue.Session.GetStatusAsync())
            .Should().Be(VirtioDeviceStatus.Acknowledge | VirtioDeviceStatus.Driver | VirtioDeviceStatus.FeaturesOk);
        await dialogue.Session.SetStatusAsync(VirtioDeviceStatus.Acknowledge);
        dialogue.Backend.Transcript[^1].Should().Be("SET_STATUS 0x1 !");
    }

    [Fact]
    public async Task A_back_end_that_takes_FEATURES_OK_back_refuses_the_session()
    {
        VhostUserFrontendOptions options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.Status };
        (Exception failure, _) = await Dialogue.RefusedAsync(new BackendOffer { StatusMask = 0xf7 }.With(VhostUserProtocolFeatures.Status), options);
        failure.Should().BeOfType<VhostUserFeatureException>().Which.Message.Should().Contain("FEATURES_OK").And.Contain("0x03");
    }

    [Fact]
    public async Task STATUS_messages_need_STATUS()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        await dialogue.Session.Invoking(session => session.GetStatusAsync().AsTask())
            .Should().ThrowAsync<VhostUserFeatureException>().WithMessage("*GET_STATUS needs STATUS*");
    }

    [Fact]
    public async Task A_missing_required_feature_is_named_and_ends_the_session()
    {
        VhostUserFrontendOptions options = new()
        {
            RequiredFeatures = VirtioFeatures.RingPacked,
            RequiredProtocolFeatures = VhostUserProtocolFeatures.InflightShmFd,
        };
        (Exception failure, IReadOnlyList<string> transcript) = await Dialogue.RefusedAsync(options: options);

        VhostUserFeatureException missing = failure.Should().BeOfType<VhostUserFeatureException>().Subject;
        missing.Missing.Should().Be(VirtioFeatures.RingPacked);
        missing.MissingProtocol.Should().Be(VhostUserProtocolFeatures.InflightShmFd);
        missing.Message.Should().Contain("RING_PACKED").And.Contain("INFLIGHT_SHMFD").And.Contain("VERSION_1");
        transcript.Should().NotContain(line => line.StartsWith("SET_FEATURES", StringComparison.Ordinal));
    }

    [Fact]
    public async Task F05_unknown_bits_are_seen_reported_and_never_acknowledged()
    {
        BackendOffer everything = new() { Features = (VirtioFeatures)ulong.MaxValue, Protocol = (VhostUserProtocolFeatures)ulong.MaxValue };
        using LogRecorder log = new();
        VhostUserFrontendOptions options = new()
        {
            LoggerFactory = log,
            WantedProtocolFeatures = (VhostUserProtocolFeatures)(ulong.MaxValue & ~(1UL << 17)),
            RequiredProtocolFeatures = VhostUserProtocolFeatures.ConfigureMemSlots, // else PAGEFAULT takes its place
        };
        await using Dialogue dialogue = await Dialogue.StartAsync(everything, options);

        dialogue.Backend.Last(VhostUserRequest.SetProtocolFeatures).U64.Should().Be((ulong)VhostUserProtocolFeatures.All & ~(1UL << 17));
        dialogue.Backend.Last(VhostUserRequest.SetFeatures).U64.Should().Be((ulong)(Usual | Bit30));
        dialogue.Session.Summary.IgnoredProtocolFeatures
            .Should().Be((VhostUserProtocolFeatures)(~(ulong)VhostUserProtocolFeatures.All | (1UL << 17)));
        log.Lines.Should().ContainSingle(line => line.Contains("0xffffffffff000000", StringComparison.Ordinal));
    }

    [Fact]
    public async Task F05_a_back_end_that_lost_features_since_the_session_it_replaces_is_refused_with_the_difference()
    {
        NegotiationSummary before;
        await using (Dialogue first = await Dialogue.StartAsync())
            before = first.Session.Summary;

        BackendOffer shrunk = new BackendOffer { Features = Usual & ~VirtioFeatures.EventIndex | Bit30 }.Without(VhostUserProtocolFeatures.Config);
        (Exception failure, _) = await Dialogue.RefusedAsync(shrunk, new VhostUserFrontendOptions { Replaces = before });

        VhostUserFeatureException lost = failure.Should().BeOfType<VhostUserFeatureException>().Subject;
        lost.Missing.Should().Be(VirtioFeatures.EventIndex);
        lost.MissingProtocol.Should().Be(VhostUserProtocolFeatures.Config);
        lost.Message.Should().Contain("EVENT_IDX").And.Contain("CONFIG");

        await using Dialogue again = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { Replaces = before });
        again.Session.AcknowledgedFeatures.Should().Be(before.AcknowledgedFeatures);
    }

    [Theory]
    [InlineData(1UL, 4, 1, 1)]
    [InlineData(4UL, 2, 4, 2)]
    [InlineData(300UL, 256, 256, 256)]
    [InlineData(ulong.MaxValue, 4, 256, 4)]
    public async Task F06_the_number_of_queues_is_clamped(ulong answer, int asked, int served, int used)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(
            new BackendOffer { Queues = answer }, new VhostUserFrontendOptions { Queues = asked });
        dialogue.Session.MaxQueues.Should().Be(served);
        dialogue.Session.QueueCount.Should().Be(used);
        dialogue.Session.Summary.QueueNumberAnswer.Should().Be(answer);
    }

    [Theory]
    [InlineData(1UL, 1)]
    [InlineData(509UL, 509)]
    [InlineData(510UL, 509)]
    [InlineData(ulong.MaxValue, 509)]
    public async Task F06_the_number_of_memory_slots_is_clamped(ulong answer, int slots)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer { Slots = answer });
        dialogue.Session.MaxMemorySlots.Should().Be(slots);
    }

    [Fact]
    public async Task F06_no_queues_and_no_slots_are_errors_that_name_the_message()
    {
        (Exception noQueues, _) = await Dialogue.RefusedAsync(new BackendOffer { Queues = 0 });
        noQueues.Should().BeOfType<VhostUserProtocolException>().Which.Message.Should().Contain("VHOST_USER_GET_QUEUE_NUM").And.Contain("answered 0");
        (Exception noSlots, _) = await Dialogue.RefusedAsync(new BackendOffer { Slots = 0 });
        noSlots.Should().BeOfType<VhostUserProtocolException>().Which.Message
            .Should().Contain("VHOST_USER_GET_MAX_MEM_SLOTS").And.Contain("answered 0");
    }

    [Fact]
    public async Task A_network_device_counts_pairs()
    {
        VhostUserFrontendOptions options = new() { Queues = 4, QueueNumberCountsPairs = true };
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer { Queues = 2 }, options);
        dialogue.Session.MaxQueues.Should().Be(4);
        dialogue.Session.QueueCount.Should().Be(4);
    }

    [Fact]
    public async Task Without_MQ_the_device_type_decides_the_number_of_queues()
    {
        VhostUserFrontendOptions options = new() { Queues = 4, QueuesWithoutMultiQueue = 2 };
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().Without(VhostUserProtocolFeatures.MultiQueue), options);
        dialogue.Session.QueueCount.Should().Be(2);
        dialogue.Backend.Transcript.Should().NotContain("GET_QUEUE_NUM");
    }

    [Fact]
    public async Task A_feature_without_its_prerequisite_is_left_alone()
    {
        VhostUserFrontendOptions options = new() { WantedProtocolFeatures = VhostUserProtocolFeatures.All & ~VhostUserProtocolFeatures.XenMmap };
        BackendOffer offer = new() { Protocol = VhostUserProtocolFeatures.All & ~(VhostUserProtocolFeatures.BackendReq | VhostUserProtocolFeatures.InflightShmFd) };
        await using Dialogue dialogue = await Dialogue.StartAsync(offer, options);

        const VhostUserProtocolFeatures orphans = VhostUserProtocolFeatures.InbandNotifications | VhostUserProtocolFeatures.BackendSendFd |
            VhostUserProtocolFeatures.HostNotifier | VhostUserProtocolFeatures.GetVringBaseInflight | VhostUserProtocolFeatures.GetVringBaseSkipDrain |
            VhostUserProtocolFeatures.Shmem;
        (dialogue.Session.ProtocolFeatures & orphans).Should().Be(VhostUserProtocolFeatures.None);
        (dialogue.Session.Summary.MissingProtocolFeatures & orphans).Should().Be(orphans);
    }

    [Fact]
    public async Task The_driver_may_acknowledge_again_and_bit_30_stays()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.SetFeaturesAsync(VirtioFeatures.Version1);
        dialogue.Backend.Since(mark).Should().Equal("SET_FEATURES 0x140000000 !");
        dialogue.Session.AcknowledgedFeatures.Should().Be(VirtioFeatures.Version1 | Bit30);

        await dialogue.Session.Invoking(session => session.SetFeaturesAsync(VirtioFeatures.RingPacked).AsTask())
            .Should().ThrowAsync<VhostUserFeatureException>().WithMessage("*RING_PACKED*not offered*");
    }

    [Fact]
    public async Task Options_that_cannot_be_are_refused_and_the_connection_is_closed()
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        await using (back)
        {
            VhostUserFrontendOptions xen = new() { WantedProtocolFeatures = VhostUserProtocolFeatures.XenMmap };
            await FluentActions.Awaiting(() => VhostUserFrontend.StartAsync(front, xen).AsTask())
                .Should().ThrowAsync<ArgumentException>().WithMessage("*XEN_MMAP*");
            (await back.ReceiveAsync().InTime()).Should().BeNull();
        }

        await FluentActions.Awaiting(() => VhostUserFrontend.ConnectAsync("/nowhere", new VhostUserFrontendOptions { Queues = 0 }).AsTask())
            .Should().ThrowAsync<ArgumentOutOfRangeException>();
    }

    [Fact]
    public async Task A_front_end_may_connect_or_be_connected_to()
    {
        using TempSocket path = new();
        await using VhostUserListener listener = VhostUserListener.Listen(path.Path);

        ValueTask<VhostUserConnection> accepting = listener.AcceptAsync();
        ValueTask<VhostUserFrontend> connecting = VhostUserFrontend.ConnectAsync(path.Path);
        await using (ScriptedBackend backend = new(await accepting.InTime()))
        await using (VhostUserFrontend session = await connecting.InTime())
            session.AcknowledgedFeatures.Should().Be(Usual | Bit30);

        ValueTask<VhostUserFrontend> waiting = VhostUserFrontend.AcceptAsync(listener);
        await using (ScriptedBackend backend = new(await VhostUserConnection.ConnectAsync(path.Path).InTime()))
        await using (VhostUserFrontend session = await waiting.InTime())
            session.AcknowledgedFeatures.Should().Be(Usual | Bit30);
    }

    [Fact]
    public async Task The_summary_says_it_in_words_and_in_properties()
    {
        using TestRings rings = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions
        {
            Queues = 8,
            WantedFeatures = Usual | VirtioFeatures.RingPacked,
        });
        await dialogue.Session.SetMemoryAsync(rings.Memory);
        await dialogue.Session.StartVringsAsync([rings[0], rings[1] with { Enabled = false }]);
        await dialogue.Session.ReadConfigAsync(0, new byte[8]);
        NegotiationSummary summary = dialogue.Session.Summary;

        summary.MissingFeatures.Should().Be(VirtioFeatures.RingPacked);
        summary.IgnoredFeatures.Should().Be(VirtioFeatures.LogAll);
        summary.UsedProtocolFeatures.Should().Be(BackendOffer.UsualProtocol & ~VhostUserProtocolFeatures.ResetDevice);
        summary.MemoryMode.Should().Be(MemoryMode.Slots);
        summary.HasAcknowledgements.Should().BeTrue();
        summary.HasBackendChannel.Should().BeTrue();
        summary.Rings.Should().Equal(new NegotiatedRing(0, TestRings.Size, IsEnabled: true), new NegotiatedRing(1, TestRings.Size, IsEnabled: false));
        summary.ToString().Should().Contain("8 asked, back-end answered 4").And.Contain("by slots, back-end answered 32")
            .And.Contain("ring 1").And.Contain("disabled").And.Contain("asked, not got     RING_PACKED").And.NotEndWith("\n");

        await using Dialogue bare = await Dialogue.StartAsync(new BackendOffer { Features = Usual });
        bare.Session.Summary.ToString()
            .Should().Contain("MQ not negotiated").And.Contain("by table, at most 8").And.Contain("barrier").And.Contain("not negotiated");
    }

    [Fact]
    public async Task Bits_of_the_device_are_named_where_its_type_is_known()
    {
        VirtioFeatures features = Usual | (VirtioFeatures)(ulong)(VirtioBlkFeatures.BlockSize | VirtioBlkFeatures.Flush);
        VhostUserFrontendOptions options = new() { WantedFeatures = features | (VirtioFeatures)(ulong)VirtioBlkFeatures.Zoned };
        await using Dialogue unknown = await Dialogue.StartAsync(new BackendOffer { Features = features }, options);
        await using Dialogue block = await Dialogue.StartAsync(new BackendOffer { Features = features }, options with { FeatureName = FeatureNames.OfBlockBit });

        Line(unknown, "  acknowledged").Should().Contain("bit 6 bit 9");
        Line(unknown, "  asked, not got").Should().Contain("bit 17");
        Line(block, "  acknowledged").Should().Contain("BLK_SIZE FLUSH");
        Line(block, "  asked, not got").Should().Contain("ZONED");
        Func<Task> more = () => block.Session.SetFeaturesAsync((VirtioFeatures)(ulong)VirtioBlkFeatures.Lifetime).AsTask();
        await more.Should().ThrowAsync<VhostUserFeatureException>().WithMessage("*LIFETIME*not offered*BLK_SIZE*");

        static string Line(Dialogue dialogue, string topic) => dialogue.Session.Summary.Describe().First(line => line.Topic == topic).Text;
    }
}
