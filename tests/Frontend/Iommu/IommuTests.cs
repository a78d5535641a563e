using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests.Iommu;

/// <summary>What a session says to a back-end behind an IOMMU, and what it lets itself be asked.</summary>
[Collection(ProcessCounts.Name)]
public sealed class IommuTests
{
    private const VhostUserIotlbPermission Read = VhostUserIotlbPermission.ReadOnly;
    private const VhostUserIotlbPermission Write = VhostUserIotlbPermission.WriteOnly;
    private const VhostUserIotlbPermission Both = VhostUserIotlbPermission.ReadWrite;
    private const ulong Low = 0x4000_0000;
    private const ulong High = Low + (1 << 20);

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.IotlbMsg, VhostUserBackendRequest.IotlbMsg)]
    public async Task A_miss_is_answered_by_an_update_before_it_is_acknowledged()
    {
        IommuMappings iommu = new();
        iommu.Map(new(0x10000), new(Low + 0x2000), 0x3000, Read);
        await using Dialogue dialogue = await StartAsync(iommu);

        (await AskAsync(dialogue, Miss(0x11234, Read))).Should().Be(0);

        ScriptedRequest update = dialogue.Backend.Last(VhostUserRequest.IotlbMsg);
        update.WantsAcknowledgement.Should().BeTrue();
        Said(update).Should().Be(new VhostUserIotlb(new(0x10000), 0x3000, new(Low + 0x2000 + GuestRam.UserOffset), Read, VhostUserIotlbType.Update));
        iommu.Lookups.Should().Be(1);
    }

    [Theory]
    [InlineData(0x0, 0x0, 0x100000)]
    [InlineData(0xFFFFF, 0x0, 0x100000)]
    [InlineData(0x100000, 0x100000, 0x100000)]
    [InlineData(0x1FFFFF, 0x100000, 0x100000)]
    public async Task What_lies_in_two_regions_is_cut_to_the_one_that_is_asked_for(int at, int first, int size)
    {
        IommuMappings iommu = new();
        iommu.Map(new(0x8000_0000), new(Low), 2 << 20);
        await using Dialogue dialogue = await StartAsync(iommu);

        (await AskAsync(dialogue, Miss(0x8000_0000 + (ulong)at, Write))).Should().Be(0);

        Said(dialogue.Backend.Last(VhostUserRequest.IotlbMsg)).Should().Be(
            new VhostUserIotlb(new(0x8000_0000 + (ulong)first), (ulong)size, new(Low + (ulong)first + GuestRam.UserOffset), Both, VhostUserIotlbType.Update));
    }

    [Fact]
    public async Task With_GPA_ADDRESSES_it_says_guest_addresses()
    {
        IommuMappings iommu = new() { LargestTranslation = 4096 };
        iommu.Map(new(0x10000), new(Low), 0x3000);
        await using Dialogue dialogue = await StartAsync(iommu, VhostUserProtocolFeatures.GpaAddresses);
        (await AskAsync(dialogue, Miss(0x11234, Both))).Should().Be(0);
        Said(dialogue.Backend.Last(VhostUserRequest.IotlbMsg)).Should().Be(new VhostUserIotlb(new(0x11000), 4096, new(Low + 0x1000), Both, VhostUserIotlbType.Update));
    }

    [Theory]
    [InlineData(0x50000UL, 0UL, 1, 1, "not mapped for permission 1")]
    [InlineData(0x10000UL, 0UL, 2, 1, "not mapped for permission 2")]
    [InlineData(0x20000UL, 0UL, 1, 1, "no memory of the device")]
    [InlineData(0x10000UL, ulong.MaxValue, 1, 1, "size 0xffffffffffffffff at I/O virtual address")]
    [InlineData(0x10000UL, 0UL, 0, 1, "permission 0")]
    [InlineData(0x10000UL, 0UL, 4, 1, "permission 4")]
    [InlineData(0x10000UL, 4096UL, 1, 2, "type 2")]
    [InlineData(0x10000UL, 4096UL, 1, 3, "type 3")]
    [InlineData(0x10000UL, 0UL, 1, 0, "type 0")]
    [InlineData(0x10000UL, 0UL, 1, 5, "type 5")]
    [InlineData(0x10000UL, ulong.MaxValue, 1, 4, "passes 2^64")]
    public async Task F09_what_cannot_be_is_refused_by_name_and_nothing_is_said(ulong address, ulong size, byte permission, byte type, string complaint)
    {
        using LogRecorder log = new();
        IommuMappings iommu = new();
        iommu.Map(new(0x10000), new(Low), 0x3000, Read);
        iommu.Map(new(0x20000), new(0x10_0000_0000), 0x3000);
        await using Dialogue dialogue = await StartAsync(iommu, log: log);

        (await AskAsync(dialogue, new VhostUserIotlb(new(address), size, default, (VhostUserIotlbPermission)permission, (VhostUserIotlbType)type))).Should().Be(1);

        dialogue.Backend.Requests.Should().NotContain(request => request.Code == VhostUserRequest.IotlbMsg);
        log.Lines.Should().Contain(line => line.Contains(complaint, StringComparison.Ordinal) && line.Contains("IOTLB_MSG", StringComparison.Ordinal));
        (await AskAsync(dialogue, Miss(0x10000, Read))).Should().Be(0);
    }

    [Theory]
    [InlineData(25)]
    [InlineData(27)]
    [InlineData(33)]
    public async Task F09_a_message_of_another_shape_is_refused(int size)
    {
        await using Dialogue dialogue = await StartAsync(new IommuMappings());
        (await AskAsync(dialogue, new byte[size])).Should().Be(1);
    }

    [Fact]
    public async Task F09_a_hundred_thousand_misses_cost_what_they_are_answered_with()
    {
        using LogRecorder log = new();
        IommuMappings iommu = new();
        iommu.Map(new(0x10000), new(Low), 0x3000);
        await using Dialogue dialogue = await StartAsync(iommu, log: log);
        ProcessCounts before = ProcessCounts.Snapshot();
        for (ulong i = 0; i < 100_000; i++)
            await SendAsync(dialogue, Bytes(Miss(0x1_0000_0000 + (i * 4096), Read)), needReply: false);
        (await AskAsync(dialogue, Miss(0x10000, Read))).Should().Be(0);
        await Eventually.TrueAsync(() => iommu.Faults == 100_000);
        log.Entries.Count(entry => entry.Id == 2040).Should().Be(17);
        before.AssertBack();
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
    }

    [Fact]
    public async Task An_access_failure_reaches_the_IOMMU()
    {
        IommuMappings iommu = new();
        await using Dialogue dialogue = await StartAsync(iommu);
        (await AskAsync(dialogue, new VhostUserIotlb(new(1), 4096, default, Write, VhostUserIotlbType.AccessFail))).Should().Be(0);
        iommu.AccessFailures.Should().Be(1);
    }

    [Fact]
    public async Task What_is_unmapped_is_withdrawn_and_waited_for_and_never_said_again()
    {
        IommuMappings iommu = new();
        iommu.Map(new(0x10000), new(Low), 0x3000);
        await using Dialogue dialogue = await StartAsync(iommu);
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.IotlbMsg ? Misbehaviour.Nothing : null;
        await SendAsync(dialogue, Bytes(Miss(0x10000, Read)), needReply: false);
        await Eventually.TrueAsync(() => dialogue.Backend.Requests.Any(request => request.Code == VhostUserRequest.IotlbMsg));

        Task unmapping = iommu.UnmapAsync(new(0x10000), 0x3000).AsTask();
        await SendAsync(dialogue, Bytes(Miss(0x10000, Read)), needReply: false);
        unmapping.IsCompleted.Should().BeFalse();
        dialogue.Backend.Requests.Count(request => request.Code == VhostUserRequest.IotlbMsg).Should().Be(1, "the answer that was under way comes first");
        await AcknowledgeAsync(dialogue);
        await Eventually.TrueAsync(() => dialogue.Backend.Requests.Count(request => request.Code == VhostUserRequest.IotlbMsg) == 2);
        Said(dialogue.Backend.Last(VhostUserRequest.IotlbMsg)).Should().Be(new VhostUserIotlb(new(0x10000), 0x3000, default, VhostUserIotlbPermission.None, VhostUserIotlbType.Invalidate));
        unmapping.IsCompleted.Should().BeFalse();
        await AcknowledgeAsync(dialogue);
        await unmapping.InTime();
        await Eventually.TrueAsync(() => iommu.Faults == 1);
    }

    [Fact]
    public async Task A_back_end_that_refuses_to_let_go_is_an_exception_and_one_that_has_gone_is_none()
    {
        IommuMappings iommu = new();
        Dialogue dialogue = await StartAsync(iommu);
        dialogue.Backend.Offer = dialogue.Backend.Offer with { Acknowledgement = 1 };
        await iommu.Awaiting(one => one.UnmapAsync(new(0), 4096).AsTask()).Should().ThrowAsync<VhostUserRejectedException>();
        dialogue.Backend.Connection.Abort();
        await Eventually.TrueAsync(() => dialogue.Session.Completion.IsCompleted);
        await iommu.UnmapAsync(new(0), 4096).InTime();
        await dialogue.Session.InvalidateIotlbAsync(new(0), 4096).InTime();
        await dialogue.DisposeAsync();
    }

    /// <summary>Two devices of others behind the IOMMU of a driver that ends.</summary>
    [Fact]
    public async Task A_device_that_does_not_let_go_when_a_driver_ends_is_logged_and_one_that_is_lost_meanwhile_is_not()
    {
        using LogRecorder log = new();
        IommuMappings iommu = new();
        using GuestMemory memory = GuestRam.Create(1UL << 20, at: 0x10_0000_0000);
        iommu.MapAll(memory);
        await using Dialogue lost = await StartAsync(iommu);
        using EventNotifier kick = new();
        await lost.Session.StartVringAsync(Ring(kick));
        lost.Backend.Misbehave = static (request, _) => request.Code == VhostUserRequest.IotlbMsg ? Misbehaviour.Nothing : null;
        await using Dialogue refuses = await StartAsync(iommu);
        refuses.Backend.Offer = refuses.Backend.Offer with { Acknowledgement = 1 };

        Task ending = iommu.UnmapAllAsync(memory, log).AsTask();
        await Eventually.TrueAsync(() => lost.Backend.Requests.Any(static request => request.Code == VhostUserRequest.IotlbMsg));
        await lost.Session.DisposeAsync().InTime();
        await ending.InTime();
        lost.Session.HasBackendLetGo.Should().BeFalse();

        iommu.Count.Should().Be(0);
        log.Entries.Should().ContainSingle().Which.Text.Should().Contain("may still use what was at I/O virtual address 0x1000000000, size 0x100000");
        log.Exceptions.Should().ContainSingle().Which.Should().BeOfType<VhostUserRejectedException>();
    }

    [Fact]
    public async Task Mappings_that_somebody_has_changed_are_named_when_their_driver_ends()
    {
        using LogRecorder log = new();
        IommuMappings iommu = new();
        using GuestMemory memory = GuestRam.Create(1UL << 20, at: Low);
        iommu.Map(new(Low - 4096), new(Low), 1UL << 20);

        await iommu.UnmapAllAsync(memory, log).InTime();

        log.Exceptions.Should().ContainSingle().Which.Should().BeOfType<ArgumentException>().Which.Message.Should().Contain("goes on into the range");
    }

    [Fact]
    public async Task An_IOMMU_that_answers_something_else_is_not_believed()
    {
        using LogRecorder log = new();
        await using Dialogue dialogue = await StartAsync(new LyingIommu(), log: log);
        (await AskAsync(dialogue, Miss(0x10000, Write))).Should().Be(1);
        log.Lines.Should().Contain(line => line.Contains("does not contain it", StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_IOMMU_that_fails_to_let_go_keeps_nobody_from_the_end_of_the_session()
    {
        using LogRecorder log = new();
        await using Dialogue dialogue = await StartAsync(new LyingIommu { Fails = true }, log: log);
        TaskCompletionSource disconnected = new();
        dialogue.Session.Disconnected += (_, _) => disconnected.SetResult();
        dialogue.Backend.Connection.Abort();
        await disconnected.Task.InTime();
        log.Entries.Should().Contain(entry => entry.Id == 2043);
    }

    [Theory]
    [InlineData(VhostUserProtocolFeatures.BackendReq)]
    [InlineData(VhostUserProtocolFeatures.ReplyAck)]
    public async Task Without_a_channel_or_acknowledgements_there_is_no_IOMMU(VhostUserProtocolFeatures missing)
    {
        BackendOffer offer = new BackendOffer { Features = new BackendOffer().Features | VirtioFeatures.AccessPlatform }.Without(missing);
        VhostUserFrontendOptions options = new() { Iommu = new IommuMappings() };
        await using (Dialogue dialogue = await Dialogue.StartAsync(offer, options))
            dialogue.Session.UsesIommu.Should().BeFalse();
        (Exception failure, _) = await Dialogue.RefusedAsync(offer, options with { RequiredFeatures = VirtioFeatures.Version1 | VirtioFeatures.AccessPlatform });
        failure.Should().BeOfType<VhostUserFeatureException>().Which.Missing.Should().Be(VirtioFeatures.AccessPlatform);
    }

    [Fact]
    [Shows(Counterpart.Script, VirtioFeatures.AccessPlatform)]
    public async Task Rings_go_out_at_the_addresses_that_the_driver_says()
    {
        await using Dialogue dialogue = await StartAsync(new IommuMappings());
        using EventNotifier kick = new();
        await dialogue.Session.StartVringAsync(Ring(kick));
        VhostUserVringAddress.TryRead(dialogue.Backend.Last(VhostUserRequest.SetVringAddr).Payload, out VhostUserVringAddress said).Should().BeTrue();
        (said.DescriptorTable.Value, said.AvailableRing.Value, said.UsedRing.Value).Should().Be((0x7000_0000, 0x7000_1000, 0x7000_2000));
    }

    private static async Task<Dialogue> StartAsync(IVirtioIommu iommu, VhostUserProtocolFeatures more = VhostUserProtocolFeatures.None, LogRecorder? log = null)
    {
        BackendOffer offer = new BackendOffer { Features = new BackendOffer().Features | VirtioFeatures.AccessPlatform }.With(more);
        VhostUserFrontendOptions options = new() { Iommu = iommu, RequiredProtocolFeatures = more, LoggerFactory = log };
        Dialogue dialogue = await Dialogue.StartAsync(offer, options);
        dialogue.Session.UsesIommu.Should().BeTrue();
        using GuestMemory memory = GuestRam.Create((Low, 1UL << 20), (High, 1UL << 20));
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

    private static VhostUserIotlb Miss(ulong address, VhostUserIotlbPermission permission) => new(new(address), 0, default, permission, VhostUserIotlbType.Miss);

    private static VhostUserIotlb Said(ScriptedRequest request)
    {
        VhostUserIotlb.TryRead(request.Payload, out VhostUserIotlb said).Should().BeTrue();
        return said;
    }

    private static Task<ulong> AskAsync(Dialogue dialogue, VhostUserIotlb message) => AskAsync(dialogue, Bytes(message));

    private static async Task<ulong> AskAsync(Dialogue dialogue, byte[] payload)
    {
        await SendAsync(dialogue, payload, needReply: true);
        using VhostUserMessage? reply = await dialogue.Backend.Channel!.ReceiveAsync().InTime();
        return BitConverter.ToUInt64(reply!.Payload);
    }

    private static ValueTask SendAsync(Dialogue dialogue, byte[] payload, bool needReply) =>
        dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(VhostUserBackendRequest.IotlbMsg, payload.Length, needReply), payload);

    private static ValueTask AcknowledgeAsync(Dialogue dialogue) => dialogue.Backend.Connection.SendAsync(
        new VhostUserHeader((uint)VhostUserRequest.IotlbMsg, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, 8), new byte[8]);

    private static byte[] Bytes(VhostUserIotlb message)
    {
        byte[] bytes = new byte[message.EncodedSize];
        message.Write(bytes);
        return bytes;
    }

    private sealed class LyingIommu : IVirtioIommu
    {
        public IommuTranslation? Translate(IoVirtualAddress address, VhostUserIotlbPermission access) => new(new(address.Value + 1), new(Low), 4096, access);

        public void Attach(VhostUserFrontend device)
        {
        }

        internal bool Fails { get; init; }

        public void Detach(VhostUserFrontend device)
        {
            if (Fails)
                throw new InvalidOperationException("the IOMMU was told to fail");
        }
    }
}
