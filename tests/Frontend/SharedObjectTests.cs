using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;
using static Vhost.Frontend.Tests.SharingSteps;

namespace Vhost.Frontend.Tests;

/// <summary>Objects of a back-end, and what a back-end may not do with them.</summary>
[Collection(ProcessCounts.Name)]
public sealed class SharedObjectTests : CountedTests
{
    [Fact]
    [Shows(Counterpart.Script, VhostUserBackendRequest.SharedObjectAdd, VhostUserBackendRequest.SharedObjectRemove)]
    public async Task An_object_belongs_to_the_session_that_made_it_known_and_vanishes_with_it()
    {
        using SharedObjectRegistry registry = new();
        Guid id = Guid.NewGuid();
        await using (Dialogue other = await ReadyAsync(new() { SharedObjects = registry }))
        await using (Dialogue owner = await ReadyAsync(new() { SharedObjects = registry }))
        {
            (await AskAsync(owner, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id))).Should().Be(0);
            (await AskAsync(owner, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id))).Should().Be(1, "there is one already");
            (await AskAsync(other, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id))).Should().Be(1);
            (await AskAsync(other, VhostUserBackendRequest.SharedObjectRemove, new VhostUserSharedObject(id))).Should().Be(1, "it is not its own");
            registry.Remove(id).Should().BeFalse("it is a back-end's");
            registry.Count.Should().Be(1);

            using EventNotifier memory = new();
            owner.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetSharedObject ? Misbehaviour.Reply(request.Code, request.Payload, memory.Descriptor) : null;
            using (SafeFileHandle? found = await registry.FindAsync(id))
                found.Should().NotBeNull();
            owner.Backend.Last(VhostUserRequest.GetSharedObject).Read<VhostUserSharedObject>().Id.Should().Be(id);

            await LoseAsync(owner);
            registry.Count.Should().Be(0);
            (await registry.FindAsync(id)).Should().BeNull();
        }
    }

    [Fact]
    public async Task What_somebody_deals_with_is_asked_for()
    {
        const VhostUserProtocolFeatures doorbell = VhostUserProtocolFeatures.HostNotifier | VhostUserProtocolFeatures.BackendSendFd;
        using SharedObjectRegistry registry = new();
        BackendOffer offer = new BackendOffer().With(SharedFeatures);
        await using Dialogue objects = await Dialogue.StartAsync(offer, new VhostUserFrontendOptions { SharedObjects = registry });
        (objects.Session.ProtocolFeatures & SharedFeatures).Should().Be(VhostUserProtocolFeatures.SharedObject);
        await using Dialogue pages = await Dialogue.StartAsync(offer, new VhostUserFrontendOptions { HostNotifiers = new Doorbells() });
        (pages.Session.ProtocolFeatures & SharedFeatures).Should().Be(doorbell);
        await using Dialogue nothing = await Dialogue.StartAsync(offer);
        (nothing.Session.ProtocolFeatures & SharedFeatures).Should().Be(VhostUserProtocolFeatures.None);
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetSharedObject, VhostUserBackendRequest.SharedObjectLookup, VhostUserProtocolFeatures.SharedObject)]
    public async Task One_device_finds_what_another_or_the_hypervisor_has()
    {
        using SharedObjectRegistry registry = new();
        using EventNotifier memory = new();
        Guid local = Guid.NewGuid(), remote = Guid.NewGuid();
        registry.Add(local, Libc.Duplicate(memory.Descriptor));
        await using Dialogue owner = await ReadyAsync(new() { SharedObjects = registry });
        await using Dialogue asker = await ReadyAsync(new() { SharedObjects = registry });
        owner.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetSharedObject ? Misbehaviour.Reply(request.Code, [], memory.Descriptor) : null;
        (await AskAsync(owner, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(remote))).Should().Be(0);

        (await LookupAsync(asker, local)).Should().Be(1);
        (await LookupAsync(asker, remote)).Should().Be(1);
        (await LookupAsync(asker, Guid.NewGuid())).Should().Be(0);
        for (int i = 0; i < 10_000; i++)
            (await LookupAsync(asker, local)).Should().Be(1);
        registry.Remove(local).Should().BeTrue();
        (await LookupAsync(asker, local)).Should().Be(0);
        (await AskAsync(owner, VhostUserBackendRequest.SharedObjectRemove, new VhostUserSharedObject(remote))).Should().Be(0);
        (await LookupAsync(asker, remote)).Should().Be(0);
        Action again = () => registry.Add(local, Libc.Duplicate(memory.Descriptor));
        again();
        again.Should().Throw<ArgumentException>();
    }

    /// <summary>Who asks waits ten seconds by default, and would end its channel then.</summary>
    [Fact]
    public async Task F09_who_asks_is_answered_before_it_gives_its_channel_up()
    {
        FakeTimeProvider clock = new();
        using SharedObjectRegistry registry = new(time: clock);
        Guid id = Guid.NewGuid();
        await using Dialogue owner = await ReadyAsync(new() { SharedObjects = registry });
        (await AskAsync(owner, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id))).Should().Be(0);
        owner.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetSharedObject ? Misbehaviour.Nothing : null;
        Task<SafeFileHandle?> found = registry.FindAsync(id).AsTask();
        clock.Advance(TimeSpan.FromSeconds(4));
        found.IsCompleted.Should().BeFalse();

        clock.Advance(TimeSpan.FromSeconds(1));

        (await found.InTime()).Should().BeNull();
    }

    [Fact]
    public void A_registry_that_was_disposed_keeps_nothing()
    {
        SharedObjectRegistry registry = new();
        registry.Dispose();
        using EventNotifier memory = new();
        SafeFileHandle late = Libc.Duplicate(memory.Descriptor);
        registry.Invoking(one => one.Add(Guid.NewGuid(), late)).Should().Throw<ObjectDisposedException>();
        late.IsClosed.Should().BeTrue();
    }

    [Fact]
    public async Task F09_an_owner_that_does_not_answer_costs_its_own_session_and_not_that_of_who_asks()
    {
        FakeTimeProvider clock = new();
        using SharedObjectRegistry registry = new(time: clock);
        Guid id = Guid.NewGuid();
        await using Dialogue owner = await SilentOwnerAsync(registry, id, clock);
        await using Dialogue asker = await ReadyAsync(new() { SharedObjects = registry });
        Task<int> asked = LookupAsync(asker, id);
        await owner.Backend.WhenAsync(VhostUserRequest.GetSharedObject);
        await clock.TimersAsync(2); // of who asks and of the owner's session
        clock.Advance(TimeSpan.FromSeconds(5));
        (await asked).Should().Be(0);
        owner.Session.Completion.IsCompleted.Should().BeFalse();

        clock.Advance(TimeSpan.FromSeconds(5));

        await owner.Session.Completion.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
        (await LookupAsync(asker, id)).Should().Be(0);
        asker.Session.Completion.IsCompleted.Should().BeFalse();
    }

    [Fact]
    public async Task Who_asked_and_has_gone_costs_the_owner_nothing()
    {
        using SharedObjectRegistry registry = new();
        Guid id = Guid.NewGuid();
        await using Dialogue owner = await SilentOwnerAsync(registry, id);
        await using (Dialogue asker = await ReadyAsync(new() { SharedObjects = registry }))
        {
            await SendAsync(asker, VhostUserBackendRequest.SharedObjectLookup, new VhostUserSharedObject(id));
            await owner.Backend.WhenAsync(VhostUserRequest.GetSharedObject);
        }

        owner.Session.Completion.IsCompleted.Should().BeFalse();
    }

    /// <summary>They come on the channel on which it has asked.</summary>
    [Theory]
    [InlineData(VhostUserProtocolFeatures.InbandNotifications, VirtioFeatures.None)]
    [InlineData(VhostUserProtocolFeatures.None, VirtioFeatures.AccessPlatform)]
    public async Task F09_an_owner_that_does_not_answer_holds_up_interrupts_and_translations_of_another_device_for_a_second(VhostUserProtocolFeatures inband, VirtioFeatures iommu)
    {
        FakeTimeProvider clock = new();
        using SharedObjectRegistry registry = new(time: clock);
        Guid id = Guid.NewGuid();
        await using Dialogue owner = await SilentOwnerAsync(registry, id);
        BackendOffer usual = new();
        VhostUserFrontendOptions options = new() { SharedObjects = registry };
        await using Dialogue asker = await Dialogue.StartAsync(
            (usual with { Features = usual.Features | iommu }).With(SharedFeatures | inband),
            options with { WantedFeatures = options.WantedFeatures | iommu, WantedProtocolFeatures = BackendOffer.UsualProtocol | SharedFeatures | inband });
        Task<int> asked = LookupAsync(asker, id);
        await clock.TimersAsync();
        clock.Advance(TimeSpan.FromSeconds(1));
        (await asked.InTime()).Should().Be(0);
    }

    [Fact]
    public async Task A_process_that_may_open_no_more_files_has_no_object_to_give()
    {
        using SharedObjectRegistry registry = new();
        using EventNotifier memory = new();
        Guid id = Guid.NewGuid();
        registry.Add(id, Libc.Duplicate(memory.Descriptor));
        using (DescriptorLimit.Leaving(0))
            (await registry.FindAsync(id)).Should().BeNull();
        using SafeFileHandle? found = await registry.FindAsync(id);
        found.Should().NotBeNull();
    }

    [Fact]
    public async Task F09_a_flood_of_objects_ends_at_the_limit_of_the_session()
    {
        using SharedObjectRegistry registry = new(mostPerSession: 3);
        await using Dialogue dialogue = await ReadyAsync(new() { SharedObjects = registry });
        for (int i = 0; i < 10_000; i++)
            (await AskAsync(dialogue, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(Guid.NewGuid()))).Should().Be(i < 3 ? 0UL : 1UL);
        registry.Count.Should().Be(3);
    }

    [Fact]
    public async Task What_is_removed_makes_room_for_another_and_sessions_are_counted_each_for_itself()
    {
        using SharedObjectRegistry registry = new(mostPerSession: 1);
        await using Dialogue one = await ReadyAsync(new() { SharedObjects = registry });
        await using Dialogue other = await ReadyAsync(new() { SharedObjects = registry });
        VhostUserSharedObject first = new(Guid.NewGuid());
        for (int i = 0; i < 3; i++)
        {
            (await AskAsync(one, VhostUserBackendRequest.SharedObjectAdd, first)).Should().Be(0);
            (await AskAsync(one, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(Guid.NewGuid()))).Should().Be(1);
            (await AskAsync(one, VhostUserBackendRequest.SharedObjectRemove, first)).Should().Be(0);
        }

        (await AskAsync(one, VhostUserBackendRequest.SharedObjectAdd, first)).Should().Be(0);
        (await AskAsync(other, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(Guid.NewGuid()))).Should().Be(0);
        await LoseAsync(one);
        registry.Count.Should().Be(1);
    }

    private static async Task<Dialogue> SilentOwnerAsync(SharedObjectRegistry registry, Guid id, TimeProvider? time = null)
    {
        Dialogue owner = await ReadyAsync(new() { SharedObjects = registry, TimeProvider = time ?? TimeProvider.System });
        (await AskAsync(owner, VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id))).Should().Be(0);
        owner.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetSharedObject ? Misbehaviour.Nothing : null;
        return owner;
    }

    private static async Task<int> LookupAsync(Dialogue dialogue, Guid id)
    {
        await SendAsync(dialogue, VhostUserBackendRequest.SharedObjectLookup, new VhostUserSharedObject(id));
        using VhostUserMessage? reply = await dialogue.Backend.Channel!.ReceiveAsync().InTime();
        (BitConverter.ToUInt64(reply!.Payload) == 0).Should().Be(reply.DescriptorCount == 1);
        return reply.DescriptorCount;
    }
}
