using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Each request of a back-end as it should be, and in the ways in which it should not, to a session that would carry it out.</summary>
[Collection(ProcessCounts.Name)]
public sealed class BackendMessageTests : CountedTests
{
    private const int Turns = 50;

    /// <summary>One byte too short and too long, one descriptor too few and too many.</summary>
    public static TheoryData<VhostUserBackendRequest, int, int> OtherShapes
    {
        get
        {
            TheoryData<VhostUserBackendRequest, int, int> shapes = new();
            foreach (BackendMessage message in BackendMessage.All)
            {
                foreach (int size in message.WrongSizes)
                    shapes.Add(message.Request, size, message.Descriptors);
                shapes.Add(message.Request, message.Sizes[^1], message.MostDescriptors + 1);
                if (message.FewestDescriptors > 0)
                    shapes.Add(message.Request, message.Sizes[^1], message.FewestDescriptors - 1);
            }

            return shapes;
        }
    }

    /// <summary>Each bit that a request needs; a descriptor needs one of its own.</summary>
    public static TheoryData<VhostUserBackendRequest, VhostUserProtocolFeatures, VirtioFeatures, int> Gates
    {
        get
        {
            TheoryData<VhostUserBackendRequest, VhostUserProtocolFeatures, VirtioFeatures, int> gates = new();
            foreach (BackendMessage message in BackendMessage.All)
            {
                gates.Add(message.Request, message.Gate, message.Feature, message.Descriptors);
                if (message.MostDescriptors > 0)
                    gates.Add(message.Request, VhostUserProtocolFeatures.BackendSendFd, VirtioFeatures.None, message.MostDescriptors);
            }

            return gates;
        }
    }

    [Fact]
    public void What_the_contracts_say_is_what_the_specification_says()
    {
        MessageContract[] contracts = [.. MessageContracts.All.Where(contract => contract.Channel == VhostUserChannel.Backend)];
        contracts.Select(contract => contract.Code).Should().Equal(BackendMessage.All.Select(message => (uint)message.Request));
        foreach ((BackendMessage message, MessageContract contract) in BackendMessage.All.Zip(contracts))
        {
            Enumerable.Range(0, VhostUserHeader.MaxPayloadSize + 1).Where(size => contract.Payload.Contains((uint)size)).Should().Equal(message.Sizes, "{0}", message);
            (contract.MinDescriptors, contract.MaxDescriptors).Should().Be((message.FewestDescriptors, message.MostDescriptors), "{0}", message);
            (contract.RequiredProtocolFeatures, contract.RequiredFeatures).Should().Be((VhostUserProtocolFeatures.BackendReq | message.Gate, message.Feature), "{0}", message);
            contract.Reply.Should().Be(message.IsAlwaysAnswered ? ReplyRule.Always : ReplyRule.AckOnly, "{0}", message);
            (contract.MinReplyPayload, contract.MaxReplyPayload).Should().Be((8, 8), "{0}", message);
            (contract.MinReplyDescriptors, contract.MaxReplyDescriptors).Should().Be((0, message.IsAlwaysAnswered ? 1 : 0), "{0}", message);
        }
    }

    [Fact]
    public async Task Each_request_is_carried_out_in_each_size_that_it_may_have()
    {
        await using AskingScene scene = await AskingScene.PreparedAsync(Rings);
        foreach (BackendMessage message in BackendMessage.All)
        {
            foreach (int size in message.Sizes)
                (await scene.AskAsync(message.Request, AskingScene.PayloadOf(message.Request, size), message.Descriptors)).Should().Be(0, "{0} of {1} bytes", message, size);
        }

        scene.TakeOutcome().Should().Be(new AskingScene.Outcome(Pages: 1, Objects: 1, Mappings: 0, Translations: 2, Called: true, Told: true));
        await scene.GoesOnAsync();
    }

    [Fact]
    public async Task Without_REPLY_ACK_each_is_carried_out_and_a_lookup_alone_is_answered()
    {
        await using AskingScene scene = await AskingScene.PreparedAsync(Rings, VhostUserProtocolFeatures.ReplyAck);
        VhostUserBackendRequest[] asked =
            [VhostUserBackendRequest.ConfigChangeMsg, VhostUserBackendRequest.VringHostNotifierMsg, VhostUserBackendRequest.SharedObjectAdd, VhostUserBackendRequest.ShmemMap];
        foreach (VhostUserBackendRequest request in asked)
            await scene.SendAsync(request, AskingScene.PayloadOf(request), BackendMessage.Of(request).Descriptors, needReply: true);
        (await scene.AskAsync(VhostUserBackendRequest.SharedObjectLookup)).Should().Be(0);
        scene.TakeOutcome().Should().Be(new AskingScene.Outcome(Pages: 1, Objects: 2, Mappings: 1, Translations: 0, Called: false, Told: false));
    }

    [Theory]
    [MemberData(nameof(OtherShapes))]
    public async Task F09_another_size_or_another_number_of_descriptors_is_refused_and_nothing_comes_of_it(VhostUserBackendRequest request, int size, int descriptors)
    {
        await using AskingScene scene = await AskingScene.PreparedAsync(Rings);
        await scene.LeadAsync(request);
        await ExpectNothingAsync(scene, request, AskingScene.PayloadOf(request, size), descriptors);
        await scene.GoesOnAsync();
    }

    [Theory]
    [MemberData(nameof(Gates))]
    public async Task F09_what_is_not_agreed_on_is_refused_by_name_and_nothing_comes_of_it(
        VhostUserBackendRequest request, VhostUserProtocolFeatures withheld, VirtioFeatures withheldFeatures, int descriptors)
    {
        using LogRecorder log = new();
        await using AskingScene scene = await AskingScene.PreparedAsync(Rings, withheld, withheldFeatures, log);
        await ExpectNothingAsync(scene, request, AskingScene.PayloadOf(request), descriptors);
        MessageContracts.TryGet(request, out MessageContract? contract).Should().BeTrue();
        string missing = withheld switch
        {
            VhostUserProtocolFeatures.None => FeatureNames.Describe(withheldFeatures),
            VhostUserProtocolFeatures.BackendSendFd when request == VhostUserBackendRequest.ShmemMap => FeatureNames.Describe(VhostUserProtocolFeatures.Shmem), // which goes with it
            _ => FeatureNames.Describe(withheld),
        };
        log.Lines.Should().Contain(line => line.Contains(contract!.Name, StringComparison.Ordinal) && line.Contains($"{missing} negotiated;", StringComparison.Ordinal));
        await scene.GoesOnAsync();
    }

    /// <summary>Memory, ring and regions come later than the request, and so does what it takes back.</summary>
    [Theory]
    [InlineData(VhostUserBackendRequest.IotlbMsg)]
    [InlineData(VhostUserBackendRequest.VringHostNotifierMsg)]
    [InlineData(VhostUserBackendRequest.VringCall)]
    [InlineData(VhostUserBackendRequest.VringErr)]
    [InlineData(VhostUserBackendRequest.SharedObjectRemove)]
    [InlineData(VhostUserBackendRequest.ShmemMap)]
    [InlineData(VhostUserBackendRequest.ShmemUnmap)]
    public async Task F09_what_comes_too_early_is_refused_and_is_done_when_its_time_has_come(VhostUserBackendRequest request)
    {
        await using AskingScene scene = await AskingScene.StartAsync(Rings);
        await ExpectRefusalsAsync(scene, request, AskingScene.PayloadOf(request), BackendMessage.Of(request).Descriptors);
        await scene.PrepareAsync();
        await scene.LeadAsync(request);
        (await scene.AskAsync(request)).Should().Be(0);
        await scene.GoesOnAsync();
    }

    [Theory]
    [InlineData(VhostUserBackendRequest.VringHostNotifierMsg)]
    [InlineData(VhostUserBackendRequest.VringCall)]
    [InlineData(VhostUserBackendRequest.VringErr)]
    public async Task F09_what_is_about_a_ring_that_has_stopped_is_refused(VhostUserBackendRequest request)
    {
        await using AskingScene scene = await AskingScene.PreparedAsync(Rings);
        (await scene.AskAsync(request)).Should().Be(0);
        await scene.Ring.StopAsync();
        _ = scene.TakeOutcome(); // a call may have been under way
        await ExpectNothingAsync(scene, request, AskingScene.PayloadOf(request), BackendMessage.Of(request).Descriptors);
        await scene.GoesOnAsync();
    }

    /// <summary>What is there already, and what is not there any more.</summary>
    [Theory]
    [InlineData(VhostUserBackendRequest.SharedObjectAdd, VhostUserBackendRequest.SharedObjectRemove)]
    [InlineData(VhostUserBackendRequest.ShmemMap, VhostUserBackendRequest.ShmemUnmap)]
    public async Task F09_what_was_done_is_not_done_twice(VhostUserBackendRequest request, VhostUserBackendRequest undoing)
    {
        await using AskingScene scene = await AskingScene.PreparedAsync(Rings);
        (await scene.AskAsync(request)).Should().Be(0);
        await ExpectNothingAsync(scene, request, AskingScene.PayloadOf(request), BackendMessage.Of(request).Descriptors);
        (await scene.AskAsync(undoing)).Should().Be(0);
        await ExpectNothingAsync(scene, undoing, AskingScene.PayloadOf(undoing), BackendMessage.Of(undoing).Descriptors);
        (await scene.AskAsync(request)).Should().Be(0, "it may be done again");
    }

    /// <summary>Answers fill the channel, with a descriptor in each where there is one to give; that of a session with interrupts or an IOMMU would end the session.</summary>
    [Theory]
    [InlineData(VhostUserBackendRequest.ConfigChangeMsg)]
    [InlineData(VhostUserBackendRequest.SharedObjectLookup)]
    public async Task F09_a_back_end_that_does_not_read_its_answers_loses_its_channel_by_the_clock_of_the_session(VhostUserBackendRequest request)
    {
        FakeTimeProvider clock = new();
        using LogRecorder log = new();
        await using AskingScene scene = await AskingScene.PreparedAsync(Rings, VhostUserProtocolFeatures.InbandNotifications, VirtioFeatures.AccessPlatform, log, clock);
        byte[] payload = AskingScene.PayloadOf(request);
        Task flood = Task.Run(async () =>
        {
            while (true)
                await scene.SendAsync(request, payload, descriptors: 0, needReply: true);
        });
        await Eventually.TrueAsync(() =>
        {
            clock.Advance(TimeSpan.FromSeconds(11)); // again and again: the first time there may have been room still
            return flood.IsCompleted;
        });
        await flood.Awaiting(task => task).Should().ThrowAsync<VhostUserDisconnectedException>();
        (await log.WhenAsync(2041)).Should().Contain("did not read for 10 s");
        await scene.Session.ReadConfigAsync(0, new byte[4]).InTime();
    }

    private static async Task ExpectNothingAsync(AskingScene scene, VhostUserBackendRequest request, byte[] payload, int descriptors)
    {
        AskingScene.Outcome before = scene.TakeOutcome();
        await ExpectRefusalsAsync(scene, request, payload, descriptors);
        scene.TakeOutcome().Should().Be(before);
    }

    /// <summary>Asks again and again, and does not ask for an answer in between: a lookup has one all the same.</summary>
    private static async Task ExpectRefusalsAsync(AskingScene scene, VhostUserBackendRequest request, byte[] payload, int descriptors)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int i = 0; i < Turns; i++)
        {
            (await scene.AskAsync(request, payload, descriptors)).Should().NotBe(0);
            await scene.SendAsync(request, payload, descriptors, needReply: false);
            if (BackendMessage.Of(request).IsAlwaysAnswered)
                (await scene.AnswerAsync(request)).Should().NotBe(0);
        }

        (await scene.AskAsync(request, payload, descriptors)).Should().NotBe(0, "the first answer is that of the last request");
        before.AssertBack();
    }
}
