using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Sessions that take part in a migration, and back-ends that answer it with what cannot be, or wait for what is not theirs.</summary>
[Collection(ProcessCounts.Name)]
public sealed class PostcopyTests : CountedTests
{
    private const ulong Page = PostcopyScene.Page;
    private const ulong Size = PostcopyScene.Size;

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.PostcopyAdvise, VhostUserRequest.PostcopyListen, VhostUserRequest.PostcopyEnd, VhostUserProtocolFeatures.PageFault)]
    public async Task The_messages_are_in_order_and_the_table_asks_for_no_acknowledgement()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        scene.Dialogue.Session.ProtocolFeatures.Should().NotHaveFlag(VhostUserProtocolFeatures.ConfigureMemSlots);
        int mark = scene.Dialogue.Backend.Mark();
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        scene.MarkAllArrived();
        await scene.Migration.EndAsync().InTime();

        scene.Dialogue.Backend.Since(mark).Should().Equal("POSTCOPY_ADVISE", "POSTCOPY_LISTEN !", "SET_MEM_TABLE 2 +2fd", "SET_MEM_TABLE 0", "GET_FEATURES", "POSTCOPY_END !");
        ScriptedRequest confirmation = scene.Dialogue.Backend.Requests.Last(request => request.Code == VhostUserRequest.SetMemTable);
        confirmation.Payload.Should().Equal(new byte[8]);
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        scene.Dialogue.Backend.Transcript[^1].Should().Be("SET_MEM_TABLE 2 +2fd !", "the migration is over");
    }

    [Fact]
    public async Task Region_by_region_they_are_confirmed_once()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Both);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        int mark = scene.Dialogue.Backend.Mark();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();

        ScriptedRequest[] said = [.. scene.Dialogue.Backend.Requests.Skip(mark)];
        said.Select(request => (request.Code, request.Payload.Length, request.WantsAcknowledgement)).Should().Equal(
            (VhostUserRequest.AddMemReg, 40, false), (VhostUserRequest.AddMemReg, 40, false), (VhostUserRequest.AddMemReg, 8, false), (VhostUserRequest.GetFeatures, 0, false));
    }

    [Theory]
    [InlineData("eventfd")]
    [InlineData("memory")]
    public async Task F04_A_descriptor_that_is_no_userfaultfd_ends_the_session(string kind)
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        using EventNotifier notifier = new();
        using SharedMemory memory = SharedMemory.CreateSealed("none", Page);
        SafeHandle wrong = kind == "eventfd" ? notifier.Descriptor : memory.Descriptor;
        scene.Dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.PostcopyAdvise ? Misbehaviour.Reply(request.Code, [], wrong) : null;

        await scene.Migration.Invoking(migration => migration.JoinAsync(scene.Dialogue.Session).InTime())
            .Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*no userfaultfd*");
        await scene.Lost<VhostUserProtocolException>("no userfaultfd");
    }

    [Fact]
    public async Task F04_An_answer_with_bytes_or_two_descriptors_ends_the_session()
    {
        foreach ((byte[] payload, int count) in new[] { (new byte[8], 1), (Array.Empty<byte>(), 2), (Array.Empty<byte>(), 0) })
        {
            await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
            scene.Dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.PostcopyAdvise
                ? Misbehaviour.Reply(request.Code, payload, [.. Enumerable.Repeat((SafeHandle)scene.Faults.Descriptor, count)])
                : null;
            await scene.Migration.Invoking(migration => migration.JoinAsync(scene.Dialogue.Session).InTime()).Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*POSTCOPY_ADVISE*");
        }
    }

    [Fact]
    public async Task A_back_end_that_refuses_is_named_and_the_session_goes_on_and_may_join_again()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        scene.Dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.PostcopyListen ? Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL)) : scene.Answer(request);
        await scene.Migration.Invoking(migration => migration.JoinAsync(scene.Dialogue.Session).InTime()).Should().ThrowAsync<VhostUserRejectedException>().WithMessage("*POSTCOPY_LISTEN*");
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        scene.Dialogue.Backend.Transcript.TakeLast(2).Should().Equal("POSTCOPY_END !", "SET_MEM_TABLE 2 +2fd !");
        using GuestMemory none = GuestMemory.Create();
        await scene.Dialogue.Session.SetMemoryAsync(none).InTime();
        scene.Dialogue.Backend.Misbehave = (request, _) => scene.Answer(request);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        scene.Dialogue.Backend.Transcript[^2].Should().Be("SET_MEM_TABLE 0");
    }

    [Fact]
    public async Task A_session_that_joins_while_the_migration_is_ended_leaves_it_again()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        scene.Dialogue.Backend.Misbehave = (request, _) =>
        {
            if (request.Code == VhostUserRequest.PostcopyListen)
                scene.Migration.DisposeAsync().AsTask().Wait();
            return scene.Answer(request);
        };
        await scene.Migration.Invoking(migration => migration.JoinAsync(scene.Dialogue.Session).InTime()).Should().ThrowAsync<ObjectDisposedException>();

        scene.Dialogue.Backend.Transcript[^1].Should().Be("POSTCOPY_END !");
        await using PostcopyMigration next = new(scene.Memory, static (_, _, _) => default);
        scene.Dialogue.Backend.Misbehave = (request, _) => scene.Answer(request);
        await next.JoinAsync(scene.Dialogue.Session).InTime();
    }

    [Fact]
    public async Task An_end_that_is_cancelled_can_be_repeated_and_reaches_every_back_end()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        await using Dialogue other = await Dialogue.StartAsync(PostcopyScene.Offer, PostcopyScene.Options);
        other.Backend.Misbehave = (request, _) => scene.Answer(request);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Migration.JoinAsync(other.Session).InTime();
        scene.MarkAllArrived();

        await scene.Migration.Invoking(migration => migration.EndAsync(new CancellationToken(canceled: true)).InTime()).Should().ThrowAsync<OperationCanceledException>();
        other.Backend.Transcript.Should().NotContain("POSTCOPY_END !");
        await scene.Migration.EndAsync().InTime();

        scene.Dialogue.Backend.Transcript.Should().ContainSingle(line => line == "POSTCOPY_END !");
        other.Backend.Transcript.Should().ContainSingle(line => line == "POSTCOPY_END !");
    }

    [Fact]
    public async Task A_session_without_the_feature_is_told_so()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        using GuestMemory memory = GuestRam.Create(Size);
        await using PostcopyMigration migration = new(memory, static (_, _, _) => default);
        await migration.Invoking(one => one.JoinAsync(dialogue.Session).InTime()).Should().ThrowAsync<VhostUserFeatureException>().WithMessage("*POSTCOPY_ADVISE*PAGEFAULT*");
    }

    public static TheoryData<string, string, Func<VhostUserMemoryRegion[], VhostUserMemoryRegion[]>> Lies() => new()
    {
        { "one region less", "reply payload of 40 bytes", static told => told[..1] },
        { "one region more", "reply payload of 104 bytes", static told => [.. told, told[0]] },
        { "none", "0 regions, 2 were given", static _ => [] },
        { "another guest address", "were given", static told => [told[0] with { GuestAddress = new GuestAddress(Page) }, told[1]] },
        { "the other order", "were given", static told => [told[1], told[0]] },
        { "another size", "were given", static told => [told[0], told[1] with { Size = Size + Page }] },
        { "address 0", "says address 0x0", static told => [told[0] with { UserAddress = new UserAddress(0) }, told[1]] },
        { "an address inside a page", "in pages of 0x1000", static told => [told[0] with { UserAddress = new UserAddress(told[0].UserAddress.Value + 8) }, told[1]] },
        { "past the end", "fits below 2^64", static told => [told[0] with { UserAddress = new UserAddress(ulong.MaxValue - Page + 1) }, told[1]] },
        { "on top of each other", "are at", static told => [told[0], told[1] with { UserAddress = new UserAddress(told[0].UserAddress.Value + Page) }] },
    };

    [Theory]
    [MemberData(nameof(Lies))]
    public async Task F01_Addresses_that_cannot_be_end_the_session_before_they_are_confirmed(string lie, string why, Func<VhostUserMemoryRegion[], VhostUserMemoryRegion[]> change)
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        scene.Change = change;
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();

        await scene.Dialogue.Session.Invoking(session => session.SetMemoryAsync(scene.Memory).InTime()).Should().ThrowAsync<VhostUserProtocolException>(lie).WithMessage($"*SET_MEM_TABLE*{why}*");

        await scene.Lost<VhostUserProtocolException>(why);
        scene.Dialogue.Backend.Transcript.Should().NotContain("SET_MEM_TABLE 0");
    }

    [Fact]
    public async Task A_hundred_thousand_migrations_leave_nothing_behind()
    {
        using GuestMemory memory = GuestRam.Create(Size);
        await using Dialogue dialogue = await Dialogue.StartAsync(PostcopyScene.Offer, PostcopyScene.Options);
        using UserFaults faults = UserFaults.Open();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.PostcopyAdvise ? Misbehaviour.Reply(request.Code, [], faults.Descriptor) : null;
        dialogue.Backend.Records = false;
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int i = 0; i < 100_000; i++)
        {
            await using PostcopyMigration migration = new(memory, static (_, _, _) => default);
            await migration.JoinAsync(dialogue.Session);
            migration.MarkArrived(default, Size);
            await migration.EndAsync();
        }

        before.AssertBack();
    }
}
