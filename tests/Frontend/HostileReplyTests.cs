using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Replies that are not what the request is answered with. Whatever comes, the front-end's process has what it had before.</summary>
[Collection(ProcessCounts.Name)]
public sealed class HostileReplyTests
{
    private const uint GetFeatures = (uint)VhostUserRequest.GetFeatures;

    [Theory]
    [InlineData(2u, 0x5u, "SET_FEATURES")]
    [InlineData(77u, 0x5u, "77")]
    [InlineData(1u, 0x1u, "REPLY")]
    [InlineData(1u, 0x4u, "version")]
    [InlineData(1u, 0x6u, "version")]
    [InlineData(1u, 0x15u, "reserved")]
    public async Task F01_a_reply_to_another_request_or_with_a_wrong_header_is_an_error_that_names_both(uint code, uint flags, string named)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        (Exception failure, IReadOnlyList<string> transcript) = await Dialogue.RefusedAsync(misbehave: (request, _) =>
            request.Code == VhostUserRequest.GetFeatures ? Misbehaviour.Message(code, flags, new byte[8]) : null);
        failure.Should().BeOfType<VhostUserProtocolException>().Which.Message.Should().Contain(named).And.Contain("GET_FEATURES");
        transcript.Should().Equal("SET_OWNER", "GET_FEATURES");
        before.AssertBack();
    }

    [Fact]
    public async Task F01_a_reply_nobody_asked_for_ends_the_session()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Dialogue dialogue = await Dialogue.StartAsync())
        {
            await dialogue.Backend.Connection.SendAsync(
                new VhostUserHeader(GetFeatures, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, 8), new byte[8]);
            VhostUserProtocolException reason =
                (await dialogue.Session.Invoking(session => session.Completion.InTime()).Should().ThrowAsync<VhostUserProtocolException>()).Which;
            reason.Violation.Should().Be(VhostUserViolation.UnexpectedReply);
            dialogue.Session.DisconnectReason.Should().BeSameAs(reason);
            (await dialogue.Session.Invoking(session => session.ReadConfigAsync(0, new byte[4]).AsTask()).Should().ThrowAsync<VhostUserDisconnectedException>())
                .Which.ShouldReconnect.Should().BeFalse("it would break the rules again");
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(7u)]
    [InlineData(9u)]
    [InlineData(4096u)]
    [InlineData(uint.MaxValue)]
    public async Task F02_a_reply_of_another_size_is_an_error_before_anything_is_allocated_for_it(uint size)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        long allocated = GC.GetTotalAllocatedBytes(precise: true);
        (Exception failure, _) = await Dialogue.RefusedAsync(misbehave: (request, _) => request.Code == VhostUserRequest.GetFeatures
            ? Misbehaviour.Message(GetFeatures, 0x5, size > 4096 ? [] : new byte[size], size)
            : null);
        failure.Should().BeOfType<VhostUserProtocolException>().Which.Message
            .Should().Contain(size.ToString(System.Globalization.CultureInfo.InvariantCulture));
        (GC.GetTotalAllocatedBytes(precise: true) - allocated).Should().BeLessThan(16 << 20);
        before.AssertBack();
    }

    [Fact]
    public async Task F03_a_reply_that_never_comes_is_a_timeout_and_the_late_one_belongs_to_nobody()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        FakeTimeProvider clock = new();
        await using (Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { TimeProvider = clock, ReplyTimeout = TimeSpan.FromSeconds(3) }))
        {
            dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetConfig ? Misbehaviour.Nothing : null;
            Task reading = dialogue.Session.ReadConfigAsync(0, new byte[4]).AsTask();
            await clock.TimersAsync();
            clock.Advance(TimeSpan.FromSeconds(2.9));
            reading.IsCompleted.Should().BeFalse();
            clock.Advance(TimeSpan.FromSeconds(0.2));
            VhostUserTimeoutException failure =
                (await reading.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>()).Which;
            failure.Message.Should().Contain("VHOST_USER_GET_CONFIG").And.Contain("3 s");
            failure.ShouldReconnect.Should().BeTrue();

            await dialogue.Session.Invoking(session => session.Completion.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
            await dialogue.Session.Invoking(session => session.GetStatusAsync().AsTask()).Should().ThrowAsync<VhostUserException>();
            await dialogue.Session.Invoking(session => session.Requests.GetFeaturesAsync().AsTask())
                .Should().ThrowAsync<VhostUserDisconnectedException>();
        }

        before.AssertBack();
    }

    [Fact]
    public async Task F03_replies_byte_by_byte_are_read_all_the_same()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Dialogue dialogue = await Dialogue.StartAsync())
        {
            dialogue.Backend.Misbehave = (request, _) => request.Code switch
            {
                VhostUserRequest.GetFeatures => Misbehaviour.ByteByByte(request.Code, BitConverter.GetBytes(0x1234_5678_9abc_def0)),
                _ when request.WantsAcknowledgement => Misbehaviour.ByteByByte(request.Code, new byte[8]),
                _ => null,
            };
            ((ulong)await dialogue.Session.Requests.GetFeaturesAsync().InTime()).Should().Be(0x1234_5678_9abc_def0);
            using TestRings rings = new();
            await dialogue.Session.SetMemoryAsync(rings.Memory).InTime();
            await dialogue.Session.StartVringAsync(rings[0]).InTime();
        }

        before.AssertBack();
    }

    [Fact]
    public async Task F03_replies_that_are_too_slow_are_a_timeout_although_bytes_still_come()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        FakeTimeProvider clock = new();
        await using (Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { TimeProvider = clock }))
        {
            dialogue.Backend.Misbehave = (_, _) => new Misbehaviour.Say([[24, 0, 0, 0], [5, 0]], []);
            Task reading = dialogue.Session.ReadConfigAsync(0, new byte[4]).AsTask();
            await clock.TimersAsync();
            clock.Advance(TimeSpan.FromSeconds(10));
            await reading.Awaiting(task => task.InTime()).Should().ThrowAsync<VhostUserTimeoutException>();
        }

        before.AssertBack();
    }

    [Fact]
    public async Task F04_descriptors_where_none_belong_are_closed_and_are_an_error()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        using (EventNotifier stray = new())
        {
            (Exception failure, _) = await Dialogue.RefusedAsync(misbehave: (request, _) => request.Code == VhostUserRequest.GetFeatures
                ? Misbehaviour.Reply(request.Code, new byte[8], stray.Descriptor, stray.Descriptor, stray.Descriptor)
                : null);
            failure.Should().BeOfType<VhostUserProtocolException>().Which.Violation.Should().Be(VhostUserViolation.WrongDescriptorCount);
        }

        before.AssertBack();
    }

    [Fact]
    public async Task F04_a_missing_descriptor_is_an_error_or_the_answer_that_there_is_none()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Dialogue dialogue = await Dialogue.StartAsync())
        {
            dialogue.Backend.Misbehave = (request, _) => request.Code switch
            {
                VhostUserRequest.GetInflightFd => Misbehaviour.Reply(request.Code, [0, 16, .. new byte[14], 1, 0, 128, 0, 0, 0, 0, 0]),
                VhostUserRequest.GetSharedObject => Misbehaviour.Reply(request.Code, []),
                VhostUserRequest.PostcopyAdvise => Misbehaviour.Reply(request.Code, []),
                _ => null,
            };
            VhostUserRequestClient raw = dialogue.Session.Requests;
            (await raw.GetSharedObjectAsync(Guid.NewGuid())).Should().BeNull();
            await raw.Invoking(r => r.GetInflightFdAsync(new VhostUserInflight(0, 0, 1, 128)).AsTask())
                .Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*GET_INFLIGHT_FD*4096*");
            await raw.Invoking(r => r.PostcopyAdviseAsync().AsTask())
                .Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*POSTCOPY_ADVISE*");
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(257u)]
    [InlineData(uint.MaxValue)]
    public async Task F06_nonsense_in_GET_SHMEM_CONFIG_reaches_nothing_but_its_256_sizes(uint count)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await using (Dialogue dialogue = await Dialogue.StartAsync())
        {
            byte[] reply = [.. BitConverter.GetBytes(count), .. Enumerable.Repeat((byte)0xff, 4 + (256 * 8))];
            dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetShmemConfig ? Misbehaviour.Reply(request.Code, reply) : null;
            (await dialogue.Session.Requests.GetShmemConfigAsync()).Should().HaveCount(256).And.OnlyContain(size => size == ulong.MaxValue);
            await dialogue.Session.ReadConfigAsync(0, new byte[4]);

            dialogue.Backend.Misbehave = (request, _) => Misbehaviour.Reply(request.Code, reply[..^8]);
            await dialogue.Session.Requests.Invoking(raw => raw.GetShmemConfigAsync().AsTask())
                .Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*GET_SHMEM_CONFIG*2048*");
        }

        before.AssertBack();
    }

    [Theory]
    [InlineData(1UL)]
    [InlineData(ulong.MaxValue)]
    public async Task F20_a_back_end_that_refuses_everything_is_a_typed_error_that_names_message_and_value(ulong value)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        (Exception first, _) = await Dialogue.RefusedAsync(new BackendOffer { Acknowledgement = value });
        VhostUserRejectedException refused = first.Should().BeOfType<VhostUserRejectedException>().Subject;
        refused.ReplyCode.Should().Be(value);
        refused.Message
            .Should().Contain("VHOST_USER_SET_BACKEND_REQ_FD").And.Contain(value.ToString(System.Globalization.CultureInfo.InvariantCulture));

        GuestMemoryRegion extra = GuestRam.Region(0, 4096);
        using (extra.Memory)
        using (TestRings rings = new())
        await using (Dialogue dialogue = await Dialogue.StartAsync())
        {
            await dialogue.Session.SetMemoryAsync(rings.Memory);
            FrontendVring ring = await dialogue.Session.StartVringAsync(rings[0]);
            dialogue.Backend.Offer = dialogue.Backend.Offer with { Acknowledgement = value };
            (string Message, Func<Task> Operation)[] operations =
            [
                ("SET_CONFIG", () => dialogue.Session.WriteConfigAsync(0, new byte[1]).AsTask()),
                ("ADD_MEM_REG", () => dialogue.Session.AddMemoryAsync(extra).AsTask()),
                ("SET_VRING_NUM", () => dialogue.Session.StartVringAsync(rings[1]).AsTask()),
                ("SET_VRING_ENABLE", () => ring.SetEnabledAsync(false).AsTask()),
                ("SET_VRING_CALL", () => ring.SetCallAsync(null).AsTask()),
                ("SET_VRING_ENABLE", () => ring.StopAsync().AsTask()),
                ("SET_FEATURES", () => dialogue.Session.SetFeaturesAsync(dialogue.Session.AcknowledgedFeatures).AsTask()),
                ("SET_VRING_ENABLE", () => dialogue.Session.ResetDeviceAsync().AsTask()),
            ];
            foreach ((string message, Func<Task> operation) in operations)
            {
                VhostUserRejectedException failure =
                    (await FluentActions.Awaiting(operation).Should().ThrowAsync<VhostUserRejectedException>(message)).Which;
                failure.Message.Should().Contain(message);
                failure.ReplyCode.Should().Be(value);
            }

            dialogue.Session.Completion.IsCompleted.Should().BeFalse("a refusal does not end the session");
        }

        before.AssertBack();
    }
}
