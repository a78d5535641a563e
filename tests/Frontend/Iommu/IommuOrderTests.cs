using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests.Iommu;

/// <summary>Misses, withdrawals and other requests at the same time, and what the end of a session says about the memory.</summary>
[Collection(ProcessCounts.Name)]
public sealed class IommuOrderTests
{
    private const VhostUserIotlbPermission Read = VhostUserIotlbPermission.ReadOnly;
    private const ulong Ram = 0x4000_0000;

    [Fact]
    public async Task An_IOMMU_may_hold_a_lock_of_its_own_over_a_withdrawal()
    {
        SlowIommu iommu = new();
        await using Dialogue dialogue = await StartAsync(iommu);
        await MissAsync(dialogue, 0x10000);
        await iommu.IsAsked.WaitAsync().InTime();

        await dialogue.Session.InvalidateIotlbAsync(new(0x50000), 4096).InTime();

        iommu.MayAnswer.Release(2); // it may look again
        await Eventually.TrueAsync(() => Said(dialogue).Count == 2);
        Said(dialogue).Select(static said => said.Type).Should().Equal(VhostUserIotlbType.Invalidate, VhostUserIotlbType.Update);
    }

    [Fact]
    public async Task What_is_withdrawn_between_look_up_and_answer_is_looked_up_again()
    {
        SlowIommu iommu = new();
        await using Dialogue dialogue = await StartAsync(iommu);
        await MissAsync(dialogue, 0x10000);
        await iommu.IsAsked.WaitAsync().InTime();

        iommu.IsMapped = false; // after the look-up, before its answer
        await dialogue.Session.InvalidateIotlbAsync(new(0x10000), 4096).InTime();
        iommu.MayAnswer.Release(2);

        await iommu.IsAsked.WaitAsync().InTime();
        await MissAsync(dialogue, 0x20000);
        await iommu.IsAsked.WaitAsync().InTime();
        Said(dialogue).Should().ContainSingle().Which.Type.Should().Be(VhostUserIotlbType.Invalidate);
    }

    [Fact]
    public async Task F09_what_comes_behind_a_miss_is_served_while_the_miss_waits_for_the_main_channel()
    {
        IommuMappings iommu = new();
        iommu.Map(new(0x10000), new(Ram), 0x1000);
        await using Dialogue dialogue = await StartAsync(iommu);
        dialogue.Backend.Misbehave = static (request, _) => request.Code == VhostUserRequest.GetConfig ? Misbehaviour.Nothing : null;
        Task reading = dialogue.Session.ReadConfigAsync(0, new byte[4]).AsTask();
        await Eventually.TrueAsync(() => dialogue.Backend.Requests.Any(static request => request.Code == VhostUserRequest.GetConfig));

        await MissAsync(dialogue, 0x10000);
        await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(VhostUserBackendRequest.ConfigChangeMsg, 0, needReply: true), default);
        using VhostUserMessage? reply = await dialogue.Backend.Channel!.ReceiveAsync().InTime();

        reply!.Header.Request.Should().Be((uint)VhostUserBackendRequest.ConfigChangeMsg);
        reading.IsCompleted.Should().BeFalse();
        Said(dialogue).Should().BeEmpty("the back-end has not answered what it was asked before");
    }

    [Fact]
    public async Task F09_a_miss_that_is_said_again_and_again_is_answered_once_when_it_is_its_turn()
    {
        SlowIommu iommu = new();
        await using Dialogue dialogue = await StartAsync(iommu);
        await MissAsync(dialogue, 0x10000);
        await iommu.IsAsked.WaitAsync().InTime();

        for (int i = 0; i < 10_000; i++)
            await MissAsync(dialogue, 0x20000);
        await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(VhostUserBackendRequest.ConfigChangeMsg, 0, needReply: true), default);
        using VhostUserMessage? reply = await dialogue.Backend.Channel!.ReceiveAsync().InTime();
        iommu.MayAnswer.Release(10);

        await Eventually.TrueAsync(() => Said(dialogue).Count == 2);
        await dialogue.Session.InvalidateIotlbAsync(new(0), 4096).InTime();
        Said(dialogue).Should().HaveCount(3);
    }

    [Fact]
    public async Task A_wait_that_is_cancelled_leaves_no_translation_behind()
    {
        IommuMappings iommu = new();
        await using Dialogue dialogue = await StartAsync(iommu);
        dialogue.Backend.Misbehave = static (request, _) => request.Code == VhostUserRequest.IotlbMsg ? Misbehaviour.Nothing : null;
        Task before = dialogue.Session.InvalidateIotlbAsync(new(0x50000), 4096).AsTask();
        await Eventually.TrueAsync(() => Said(dialogue).Count == 1);
        using CancellationTokenSource impatient = new();
        Task unmapping = iommu.UnmapAsync(new(0x10000), 4096, impatient.Token).AsTask();

        await impatient.CancelAsync();
        await unmapping.Awaiting(static task => task.InTime()).Should().ThrowAsync<OperationCanceledException>();
        dialogue.Backend.Misbehave = null;
        await dialogue.Backend.Connection.SendAsync(new VhostUserHeader((uint)VhostUserRequest.IotlbMsg, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, 8), new byte[8]);

        await before.InTime();
        await Eventually.TrueAsync(() => Said(dialogue).Count == 2);
        Said(dialogue)[1].Address.Value.Should().Be(0x10000);
        await dialogue.Session.InvalidateIotlbAsync(new(0), 4096).InTime();
    }

    [Fact]
    public async Task What_is_unmapped_by_somebody_who_does_not_even_begin_to_wait_is_withdrawn()
    {
        IommuMappings iommu = new();
        await using Dialogue dialogue = await StartAsync(iommu);
        await Task.WhenAny(iommu.UnmapAsync(new(0x10000), 4096, new CancellationToken(canceled: true)).AsTask());
        await Eventually.TrueAsync(() => Said(dialogue).Count == 1);
    }

    [Fact]
    public async Task F05_memory_of_rings_that_ran_is_not_said_to_be_free_when_the_session_ends_on_this_side()
    {
        IommuMappings iommu = new();
        await using Dialogue dialogue = await StartAsync(iommu);
        using EventNotifier kick = new();
        await dialogue.Session.StartVringAsync(Ring(kick));
        dialogue.Session.HasBackendLetGo.Should().BeFalse();
        dialogue.Backend.Misbehave = static (_, _) => Misbehaviour.Nothing;
        TaskCompletionSource disconnected = new(TaskCreationOptions.RunContinuationsAsynchronously);
        dialogue.Session.Disconnected += (_, _) => disconnected.SetResult();

        await dialogue.Session.Awaiting(static one => one.ReadConfigAsync(0, new byte[4]).AsTask()).Should().ThrowAsync<VhostUserTimeoutException>();
        await disconnected.Task.InTime();

        dialogue.Session.HasBackendLetGo.Should().BeFalse();
        await dialogue.Session.Awaiting(static one => one.InvalidateIotlbAsync(new(0), 4096).AsTask()).Should().ThrowAsync<VhostUserDisconnectedException>();
        await iommu.Awaiting(static one => one.UnmapAsync(new(0), 4096).AsTask()).Should().ThrowAsync<VhostUserDisconnectedException>("nobody may tell the guest that it is done");
        dialogue.Session.PeerProcessId.Should().Be(Environment.ProcessId, "it is known whose end to wait for");
        iommu.Detach(dialogue.Session); // it has ended
        await iommu.UnmapAsync(new(0), 4096).InTime();
    }

    [Fact]
    public async Task F05_nor_when_the_session_is_disposed_while_they_run()
    {
        IommuMappings iommu = new();
        Dialogue dialogue = await StartAsync(iommu);
        using EventNotifier kick = new();
        await dialogue.Session.StartVringAsync(Ring(kick));

        await dialogue.DisposeAsync();

        await iommu.Awaiting(static one => one.UnmapAsync(new(0), 4096).AsTask()).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    /// <summary>As ours does when its device goes on with the memory for too long.</summary>
    [Fact]
    public async Task F05_nor_when_the_back_end_closes_the_connection_instead_of_an_answer()
    {
        IommuMappings iommu = new();
        await using Dialogue dialogue = await StartAsync(iommu);
        using EventNotifier kick = new();
        await dialogue.Session.StartVringAsync(Ring(kick));
        dialogue.Backend.Misbehave = static (request, _) => request.Code == VhostUserRequest.IotlbMsg ? Misbehaviour.Nothing : null;
        Task unmapping = iommu.UnmapAsync(new(0x10000), 4096).AsTask();
        await Eventually.TrueAsync(() => Said(dialogue).Count == 1);

        dialogue.Backend.Connection.Abort();

        await unmapping.Awaiting(static task => task.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        dialogue.Session.HasBackendLetGo.Should().BeFalse();
        await iommu.Awaiting(static one => one.UnmapAsync(new(0x10000), 4096).AsTask()).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_back_end_that_has_gone_and_one_whose_rings_were_stopped_have_let_go(bool stops)
    {
        IommuMappings iommu = new();
        await using Dialogue dialogue = await StartAsync(iommu);
        using EventNotifier kick = new();
        FrontendVring ring = await dialogue.Session.StartVringAsync(Ring(kick));
        if (stops)
        {
            await ring.StopAsync();
            await dialogue.Session.DisposeAsync();
        }
        else
        {
            dialogue.Backend.Connection.Abort();
            await Eventually.TrueAsync(() => dialogue.Session.Completion.IsCompleted);
        }

        dialogue.Session.HasBackendLetGo.Should().BeTrue();
        await dialogue.Session.InvalidateIotlbAsync(new(0), 4096).InTime();
        await iommu.UnmapAsync(new(0), 4096).InTime();
    }

    [Fact]
    public async Task A_session_ends_with_the_channel_on_which_its_device_asks_for_translations()
    {
        await using Dialogue dialogue = await StartAsync(new IommuMappings());
        TaskCompletionSource disconnected = new(TaskCreationOptions.RunContinuationsAsynchronously);
        dialogue.Session.Disconnected += (_, _) => disconnected.SetResult();
        dialogue.Backend.Channel!.Abort();
        await disconnected.Task.InTime();
        dialogue.Session.DisconnectReason.Should().BeOfType<VhostUserDisconnectedException>().Which.Message.Should().Contain("asks for translations (ACCESS_PLATFORM)");
        dialogue.Session.DisconnectReason.As<VhostUserException>().ShouldReconnect.Should().BeTrue();
    }

    [Fact]
    public async Task A_guest_that_takes_ACCESS_PLATFORM_back_is_behind_the_IOMMU_no_more()
    {
        SlowIommu iommu = new();
        await using Dialogue dialogue = await StartAsync(iommu);
        iommu.Attached.Should().Be(1);
        await dialogue.Session.SetFeaturesAsync(dialogue.Session.AcknowledgedFeatures & ~VirtioFeatures.AccessPlatform);
        iommu.Attached.Should().Be(0);
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(1UL)]
    [InlineData(4097UL)]
    [InlineData(ulong.MaxValue - 1)]
    public void The_largest_answer_is_whole_pages(ulong size) =>
        FluentActions.Invoking(() => new IommuMappings { LargestTranslation = size }).Should().Throw<ArgumentOutOfRangeException>().WithMessage("*multiple of 4096*");

    private static async Task<Dialogue> StartAsync(IVirtioIommu iommu)
    {
        BackendOffer offer = new() { Features = new BackendOffer().Features | VirtioFeatures.AccessPlatform };
        Dialogue dialogue = await Dialogue.StartAsync(offer, new VhostUserFrontendOptions { Iommu = iommu, ReplyTimeout = TimeSpan.FromSeconds(2) });
        using GuestMemory memory = GuestRam.Create((Ram, 1UL << 20));
        await dialogue.Session.SetMemoryAsync(memory);
        return dialogue;
    }

    private static VringSettings Ring(EventNotifier kick) => new()
    {
        Index = 0,
        Size = 16,
        DescriptorTable = new(0x7000_0000),
        AvailableRing = new(0x7000_1000),
        UsedRing = new(0x7000_2000),
        Kick = kick,
    };

    private static ValueTask MissAsync(Dialogue dialogue, ulong address)
    {
        VhostUserIotlb miss = new(new(address), 0, default, Read, VhostUserIotlbType.Miss);
        byte[] bytes = new byte[miss.EncodedSize];
        miss.Write(bytes);
        return dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(VhostUserBackendRequest.IotlbMsg, bytes.Length), bytes);
    }

    private static List<VhostUserIotlb> Said(Dialogue dialogue) =>
        [.. dialogue.Backend.Requests.Where(static request => request.Code == VhostUserRequest.IotlbMsg).Select(static request =>
        {
            VhostUserIotlb.TryRead(request.Payload, out VhostUserIotlb said).Should().BeTrue();
            return said;
        })];

    /// <summary>Looks up at once, and answers when it may.</summary>
    private sealed class SlowIommu : IVirtioIommu
    {
        public SemaphoreSlim IsAsked { get; } = new(0);

        public SemaphoreSlim MayAnswer { get; } = new(0);

        public bool IsMapped { get; set; } = true;

        public int Attached { get; private set; }

        public IommuTranslation? Translate(IoVirtualAddress address, VhostUserIotlbPermission access)
        {
            IommuTranslation? found = IsMapped ? new(new(address.Value & ~0xFFFUL), new(Ram), 4096, access) : null;
            IsAsked.Release();
            MayAnswer.Wait(TimeSpan.FromSeconds(30)).Should().BeTrue();
            return found;
        }

        public void Attach(VhostUserFrontend device) => Attached = 1;

        public void Detach(VhostUserFrontend device) => Attached = 0;
    }
}
