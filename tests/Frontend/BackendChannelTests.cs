using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>What the back-end asks over its own channel.</summary>
[Collection(ProcessCounts.Name)]
public sealed class BackendChannelTests
{
    private const VhostUserHeaderFlags Asking = VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply;

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetBackendReqFd, VhostUserBackendRequest.ConfigChangeMsg, VhostUserProtocolFeatures.BackendReq)]
    public async Task A_configuration_change_is_acknowledged_and_is_an_event_whose_handler_may_read_the_configuration()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        TaskCompletionSource<byte[]> read = new();
        dialogue.Session.ConfigChanged += (sender, args) =>
        {
            Task reading = ReadAsync((VhostUserFrontend)sender!, read);
            reading.IsFaulted.Should().BeFalse();
        };
        (await AskAsync(dialogue, VhostUserBackendRequest.ConfigChangeMsg)).Should().Be(0);
        (await read.Task.InTime()).Should().Equal(dialogue.Backend.Offer.Config[..4]);
    }

    [Fact]
    public async Task The_channel_is_served_while_a_reply_is_awaited_on_the_main_channel()
    {
        RecordingHandler handler = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { BackendRequests = handler });
        dialogue.Backend.Misbehave = (_, _) => Misbehaviour.Nothing;
        Task waiting = dialogue.Session.ReadConfigAsync(0, new byte[4]).AsTask();
        (await AskAsync(dialogue, VhostUserBackendRequest.ConfigChangeMsg)).Should().Be(0);
        await Eventually.TrueAsync(() => handler.Changes == 1);
        waiting.IsCompleted.Should().BeFalse();

        await dialogue.Session.DisposeAsync();
        await waiting.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    [Fact]
    public async Task B02_half_a_request_on_the_channel_ends_the_channel_alone_and_by_the_clock_of_the_session()
    {
        FakeTimeProvider clock = new();
        LogRecorder log = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { TimeProvider = clock, LoggerFactory = log });
        await dialogue.Backend.Channel!.SendRawAsync(new byte[4]);
        Task closed = AwaitEndAsync(dialogue);
        await Eventually.TrueAsync(() =>
        {
            clock.Advance(TimeSpan.FromSeconds(11)); // again and again: the first time the bytes may not have been seen yet
            return closed.IsCompleted;
        });
        await closed;
        await Eventually.TrueAsync(() => log.Lines.Any(line => line.Contains("4 of 12 bytes", StringComparison.Ordinal)));
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
    }

    private static async Task AwaitEndAsync(Dialogue dialogue) =>
        (await dialogue.Backend.Channel!.ReceiveAsync().InTime()).Should().BeNull("the channel is closed");

    [Fact]
    public async Task Nothing_is_answered_unless_asked_for_and_negotiated()
    {
        RecordingHandler handler = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { BackendRequests = handler });
        await SendAsync(dialogue, (uint)VhostUserBackendRequest.ConfigChangeMsg, VhostUserHeaderFlags.Version1, []);
        await Eventually.TrueAsync(() => handler.Changes == 1);
        (await AskAsync(dialogue, VhostUserBackendRequest.ConfigChangeMsg))
            .Should().Be(0, "the first reply on the channel is that of the second request");

        await using Dialogue silent = await Dialogue.StartAsync(
            new BackendOffer().Without(VhostUserProtocolFeatures.ReplyAck), new VhostUserFrontendOptions { BackendRequests = handler });
        await SendAsync(silent, (uint)VhostUserBackendRequest.ConfigChangeMsg, Asking, []);
        await Eventually.TrueAsync(() => handler.Changes >= 3);
        await silent.Session.DisposeAsync();
        (await silent.Backend.Channel!.ReceiveAsync().InTime()).Should().BeNull("NEED_REPLY means nothing without REPLY_ACK");
    }

    [Fact]
    public async Task Every_request_reaches_its_handler()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        const VhostUserProtocolFeatures all = VhostUserProtocolFeatures.All & ~VhostUserProtocolFeatures.XenMmap;
        RecordingHandler handler = new() { Agrees = true };
        BackendOffer offer = new() { Features = new BackendOffer().Features | VirtioFeatures.AccessPlatform, Protocol = all };
        VhostUserFrontendOptions options = new()
        {
            BackendRequests = handler,
            WantedProtocolFeatures = all,
            WantedFeatures = VirtioFeatures.Version1 | VirtioFeatures.AccessPlatform,
        };
        using (EventNotifier memory = new())
        await using (Dialogue dialogue = await Dialogue.StartAsync(offer, options))
        {
            Guid id = Guid.NewGuid();
            await ExpectDoneAsync(dialogue, VhostUserBackendRequest.IotlbMsg, Bytes(new VhostUserIotlb(new(1), 2, new(0), VhostUserIotlbPermission.ReadOnly, VhostUserIotlbType.Miss)));
            await ExpectDoneAsync(dialogue, VhostUserBackendRequest.VringHostNotifierMsg, Bytes(new VhostUserVringArea(VhostUserVringDescriptor.Create(3, noDescriptor: false), 4096, 0)), memory.Descriptor);
            await ExpectDoneAsync(dialogue, VhostUserBackendRequest.VringCall, Bytes(new VhostUserVringState(4, 0)));
            await ExpectDoneAsync(dialogue, VhostUserBackendRequest.VringErr, Bytes(new VhostUserVringState(5, 0)));
            await ExpectDoneAsync(dialogue, VhostUserBackendRequest.SharedObjectAdd, Bytes(new VhostUserSharedObject(id)));
            await ExpectDoneAsync(dialogue, VhostUserBackendRequest.SharedObjectRemove, Bytes(new VhostUserSharedObject(id)));
            await ExpectDoneAsync(dialogue, VhostUserBackendRequest.ShmemMap, Bytes(new VhostUserShmemMap(6, 0, 0, 4096, VhostUserShmemMapFlags.ReadWrite)), memory.Descriptor);
            await ExpectDoneAsync(
                dialogue, VhostUserBackendRequest.ShmemUnmap, Bytes(new VhostUserShmemMap(6, 0, 0, 4096, VhostUserShmemMapFlags.ReadWrite)));
            handler.Seen.Should().Equal("iotlb Miss", "notifier 3 True", "call 4", "error 5", $"add {id}", $"remove {id}", "map 6", "unmap 6");

            await SendAsync(
                dialogue, (uint)VhostUserBackendRequest.SharedObjectLookup, VhostUserHeaderFlags.Version1, Bytes(new VhostUserSharedObject(id)));
            using VhostUserMessage? found = await dialogue.Backend.Channel!.ReceiveAsync().InTime();
            found!.DescriptorCount.Should().Be(1);
            found.Payload.ToArray().Should().Equal(new byte[8]);
        }

        before.AssertBack();
    }

    [Fact]
    public async Task A_lookup_that_finds_nothing_is_answered_without_a_descriptor()
    {
        VhostUserFrontendOptions options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.SharedObject };
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(VhostUserProtocolFeatures.SharedObject), options);
        await SendAsync(dialogue, (uint)VhostUserBackendRequest.SharedObjectLookup, VhostUserHeaderFlags.Version1, new byte[16]);
        using VhostUserMessage? answer = await dialogue.Backend.Channel!.ReceiveAsync().InTime();
        answer!.DescriptorCount.Should().Be(0);
        answer.Payload.ToArray().Should().NotEqual(new byte[8]);
        (await AskAsync(dialogue, VhostUserBackendRequest.SharedObjectAdd, new byte[16])).Should().Be(1, "the default of every handler refuses");
    }

    [Fact]
    public async Task A_failing_handler_is_a_refusal()
    {
        using LogRecorder log = new();
        RecordingHandler handler = new() { Fails = true };
        VhostUserFrontendOptions options = new()
        {
            BackendRequests = handler,
            LoggerFactory = log,
            RequiredProtocolFeatures = VhostUserProtocolFeatures.SharedObject,
        };
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(VhostUserProtocolFeatures.SharedObject), options);
        (await AskAsync(dialogue, VhostUserBackendRequest.SharedObjectAdd, new byte[16])).Should().Be(1);
        (await AskAsync(dialogue, VhostUserBackendRequest.ConfigChangeMsg)).Should().Be(0);
        await SendAsync(dialogue, (uint)VhostUserBackendRequest.SharedObjectLookup, VhostUserHeaderFlags.Version1, new byte[16]);
        using VhostUserMessage? answer = await dialogue.Backend.Channel!.ReceiveAsync().InTime();
        answer!.DescriptorCount.Should().Be(0);
        await Eventually.TrueAsync(() => log.Entries.Count(entry => entry.Id == 2043) == 3);
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
    }

    [Fact]
    public async Task F09_a_handler_that_fails_without_end_fills_no_log()
    {
        using LogRecorder log = new();
        VhostUserFrontendOptions options = new()
        {
            BackendRequests = new RecordingHandler { Fails = true },
            LoggerFactory = log,
            RequiredProtocolFeatures = VhostUserProtocolFeatures.SharedObject,
        };
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(VhostUserProtocolFeatures.SharedObject), options);
        for (int i = 0; i < 1000; i++)
            (await AskAsync(dialogue, VhostUserBackendRequest.SharedObjectAdd, new byte[16])).Should().Be(1);
        log.Entries.Count(entry => entry.Id == 2043).Should().Be(10, "the 1st, 2nd, 4th … 512th are said");
    }

    [Theory]
    [InlineData(0u, 0)]
    [InlineData(11u, 0)]
    [InlineData(1002u, 24)]
    [InlineData(1u, 32)]
    [InlineData(3u, 24)]
    [InlineData(6u, 16)]
    [InlineData(9u, 40)]
    [InlineData(2u, 8)]
    public async Task F09_unknown_ungated_and_misshapen_requests_are_refused_and_both_channels_go_on(uint code, int size)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        RecordingHandler handler = new() { Agrees = true };
        await using (Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { BackendRequests = handler }))
        {
            (await AskAsync(dialogue, (VhostUserBackendRequest)code, new byte[size])).Should().NotBe(0);
            handler.Seen.Should().BeEmpty();
            (await AskAsync(dialogue, VhostUserBackendRequest.ConfigChangeMsg)).Should().Be(0);
            await dialogue.Session.ReadConfigAsync(0, new byte[4]);
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(2u, 0x2u, 0u)]
    [InlineData(2u, 0x5u, 0u)]
    [InlineData(2u, 0x101u, 0u)]
    [InlineData(2u, 0x1u, uint.MaxValue)]
    public async Task F09_junk_closes_the_back_ends_channel_alone(uint code, uint flags, uint size)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using LogRecorder log = new();
        await using (Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { LoggerFactory = log }))
        {
            byte[] junk = [.. BitConverter.GetBytes(code), .. BitConverter.GetBytes(flags), .. BitConverter.GetBytes(size)];
            await ChannelOf(dialogue).SendRawAsync(junk);
            (await dialogue.Backend.Channel!.ReceiveAsync().InTime()).Should().BeNull();
            await dialogue.Session.ReadConfigAsync(0, new byte[4]);
            dialogue.Session.Completion.IsCompleted.Should().BeFalse();
            log.Entries.Should().ContainSingle(entry => entry.Id == 2041);
        }

        before.AssertBack();
    }

    [Fact]
    public async Task F09_descriptors_nobody_asked_for_are_closed()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using (EventNotifier stray = new())
        await using (Dialogue dialogue = await Dialogue.StartAsync())
            (await AskAsync(dialogue, VhostUserBackendRequest.ConfigChangeMsg, [], stray.Descriptor, stray.Descriptor)).Should().NotBe(0);
        before.AssertBack();
    }

    [Fact]
    public async Task F09_a_storm_of_changes_and_nonsense_is_coalesced_and_logged_sparingly()
    {
        using LogRecorder log = new();
        RecordingHandler handler = new() { Holds = new TaskCompletionSource() };
        await using Dialogue dialogue = await Dialogue.StartAsync(
            options: new VhostUserFrontendOptions { BackendRequests = handler, LoggerFactory = log });
        for (int i = 0; i < 1000; i++)
        {
            await SendAsync(dialogue, (uint)VhostUserBackendRequest.ConfigChangeMsg, VhostUserHeaderFlags.Version1, []);
            await SendAsync(dialogue, 99, VhostUserHeaderFlags.Version1, []);
        }

        (await AskAsync(dialogue, VhostUserBackendRequest.ConfigChangeMsg)).Should().Be(0);
        handler.Changes.Should().Be(1, "the first change is still being handled");
        handler.Holds.SetResult();
        await Eventually.TrueAsync(() => handler.Changes == 2);
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
        handler.Changes.Should().Be(2, "all that came meanwhile is one change");
        log.Entries.Count(entry => entry.Id == 2040).Should().Be(10);
    }

    [Fact]
    public async Task F09_both_sides_asking_at_once_is_no_deadlock()
    {
        VhostUserFrontend? session = null;
        RecordingHandler handler = new() { Agrees = true, OnAdd = async () => await session!.Requests.GetFeaturesAsync() };
        VhostUserFrontendOptions options = new() { BackendRequests = handler, RequiredProtocolFeatures = VhostUserProtocolFeatures.SharedObject };
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(VhostUserProtocolFeatures.SharedObject), options);
        session = dialogue.Session;
        for (int i = 0; i < 50; i++)
        {
            Task<ulong> theirs = AskAsync(dialogue, VhostUserBackendRequest.SharedObjectAdd, new byte[16]);
            Task ours = dialogue.Session.ReadConfigAsync(0, new byte[4]).AsTask();
            (await theirs.InTime()).Should().Be(0);
            await ours.InTime();
        }
    }

    [Fact]
    public async Task A_handler_that_never_ends_does_not_keep_the_session_from_ending()
    {
        RecordingHandler handler = new() { Holds = new TaskCompletionSource() };
        Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { BackendRequests = handler });
        (await AskAsync(dialogue, VhostUserBackendRequest.ConfigChangeMsg)).Should().Be(0);
        await Eventually.TrueAsync(() => handler.Changes == 1);
        await dialogue.DisposeAsync();
    }

    [Fact]
    public async Task Without_BACKEND_REQ_there_is_no_channel()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().Without(VhostUserProtocolFeatures.BackendReq));
        dialogue.Backend.Channel.Should().BeNull();
        dialogue.Session.Summary.HasBackendChannel.Should().BeFalse();
    }

    [Fact]
    public async Task The_channel_ends_with_the_session_and_the_session_survives_the_end_of_the_channel()
    {
        await using (Dialogue dialogue = await Dialogue.StartAsync())
        {
            VhostUserConnection channel = ChannelOf(dialogue);
            dialogue.Backend.Connection.Abort();
            (await channel.ReceiveAsync().InTime()).Should().BeNull();
        }

        await using (Dialogue dialogue = await Dialogue.StartAsync())
        {
            ChannelOf(dialogue).Abort();
            await dialogue.Session.ReadConfigAsync(0, new byte[4]);
        }
    }

    private static async Task ReadAsync(VhostUserFrontend session, TaskCompletionSource<byte[]> read)
    {
        byte[] window = new byte[4];
        await session.ReadConfigAsync(0, window);
        read.SetResult(window);
    }

    private static async Task ExpectDoneAsync(Dialogue dialogue, VhostUserBackendRequest request, byte[] payload, params SafeHandle[] descriptors) =>
        (await AskAsync(dialogue, request, payload, descriptors)).Should().Be(0, "{0} is done", request);

    private static async Task<ulong> AskAsync(
        Dialogue dialogue, VhostUserBackendRequest request, byte[]? payload = null, params SafeHandle[] descriptors)
    {
        await SendAsync(dialogue, (uint)request, Asking, payload ?? [], descriptors);
        using VhostUserMessage? reply = await dialogue.Backend.Channel!.ReceiveAsync().InTime();
        reply.Should().NotBeNull();
        reply!.Header.Should().Be(new VhostUserHeader((uint)request, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, 8));
        return BitConverter.ToUInt64(reply.Payload);
    }

    private static ValueTask SendAsync(
        Dialogue dialogue, uint request, VhostUserHeaderFlags flags, byte[] payload, params SafeHandle[] descriptors) =>
        ChannelOf(dialogue).SendAsync(new VhostUserHeader(request, flags, (uint)payload.Length), payload, descriptors);

    private static VhostUserConnection ChannelOf(Dialogue dialogue) => dialogue.Backend.Channel!;

    private static byte[] Bytes<T>(T payload)
        where T : struct, IVhostUserPayload<T>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        return bytes;
    }
}
