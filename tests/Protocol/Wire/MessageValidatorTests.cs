using FsCheck;
using Vhost.Tests.Support;
using FsCheck.Fluent;
using PF = Vhost.Protocol.VhostUserProtocolFeatures;

namespace Vhost.Protocol.Tests;

public sealed class MessageValidatorTests
{
    private static readonly NegotiatedState _all = NegotiatedState.Everything;

    public static TheoryData<VhostUserChannel, uint> EveryMessage
    {
        get
        {
            TheoryData<VhostUserChannel, uint> data = new();
            foreach (MessageContract row in MessageContracts.All)
                data.Add(row.Channel, row.Code);
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(EveryMessage))]
    public void B04_exactly_the_sizes_of_the_contract_are_accepted(VhostUserChannel channel, uint code)
    {
        MessageContracts.TryGet(channel, code, out MessageContract? contract);
        for (uint size = 0; size <= (uint)Math.Min(contract!.MaxPayload + 40, VhostUserHeader.MaxPayloadSize); size++)
        {
            MessageCheck check = Check(contract, size, contract.MinDescriptors);
            check.IsValid.Should().Be(contract.Payload.Contains(size));
            if (check.IsValid)
                continue;
            check.Violation.Should().BeOneOf(
                VhostUserViolation.PayloadTooShort, VhostUserViolation.PayloadTooLong, VhostUserViolation.PayloadSizeMismatch);
            check.Explanation.Should().Be($"{contract.Name}: payload of {size} bytes; {contract.Payload} allowed.");
        }
    }

    [Theory]
    [MemberData(nameof(EveryMessage))]
    public void B08_exactly_the_descriptor_counts_of_the_contract_are_accepted(VhostUserChannel channel, uint code)
    {
        MessageContracts.TryGet(channel, code, out MessageContract? contract);
        foreach (int count in new[] { 0, 1, 2, 7, 8, 9, 253 })
        {
            MessageCheck check = Check(contract!, (uint)contract!.MinPayload, count);
            check.IsValid.Should().Be(count >= contract.MinDescriptors && count <= contract.MaxDescriptors);
            if (!check.IsValid)
            {
                check.Violation.Should().Be(VhostUserViolation.WrongDescriptorCount);
                check.Explanation.Should().StartWith($"{contract.Name}: {count} descriptors came;");
            }
        }
    }

    [Theory]
    [MemberData(nameof(EveryMessage))]
    public void A_message_whose_feature_is_not_negotiated_is_refused_with_what_is(VhostUserChannel channel, uint code)
    {
        MessageContracts.TryGet(channel, code, out MessageContract? contract);
        MessageCheck check = MessageValidator.CheckRequest(channel, Header(contract!), contract!.MinDescriptors, default);
        bool free = contract.RequiredProtocolFeatures == PF.None && contract.RequiredOfferedProtocolFeatures == PF.None
            && contract.RequiredFeatures == VirtioFeatures.None && contract.RequiredOfferedFeatures == VirtioFeatures.None;
        check.IsValid.Should().Be(free);
        if (!free)
        {
            check.Violation.Should().Be(VhostUserViolation.FeatureNotNegotiated);
            check.Explanation.Should().StartWith(contract.Name + ": needs ").And.EndWith("none (0x0).");
        }
    }

    [Fact]
    public void Some_messages_need_their_feature_only_offered()
    {
        NegotiatedState offered = new(VirtioFeatures.VhostUserProtocolFeatures, VirtioFeatures.None, PF.MultiQueue, PF.None);
        foreach (VhostUserRequest request in (VhostUserRequest[])
            [VhostUserRequest.GetProtocolFeatures, VhostUserRequest.SetProtocolFeatures, VhostUserRequest.GetQueueNum, VhostUserRequest.SetVringEnable])
        {
            MessageContracts.TryGet(request, out MessageContract? contract);
            MessageValidator.CheckRequest(VhostUserChannel.Main, Header(contract!), 0, offered).IsValid.Should().BeTrue();
        }
    }

    [Fact]
    public void A_legacy_byte_order_is_refused_for_a_modern_device()
    {
        NegotiatedState modern = _all with { Features = VirtioFeatures.Version1 };
        MessageCheck check = MessageValidator.CheckRequest(
            VhostUserChannel.Main, VhostUserHeader.ForRequest(VhostUserRequest.SetVringEndian, 8), 0, modern);
        check.Violation.Should().Be(VhostUserViolation.FeatureNotNegotiated);
        check.Explanation.Should().Be(
            "VHOST_USER_SET_VRING_ENDIAN: needs VERSION_1 (0x100000000) not negotiated; negotiated: VERSION_1 (0x100000000).");
    }

    [Fact]
    public void Descriptors_on_the_back_end_channel_need_their_own_feature()
    {
        NegotiatedState without = _all with { Protocol = PF.All & ~PF.BackendSendFd & ~PF.XenMmap };
        VhostUserHeader header = VhostUserHeader.ForRequest(VhostUserBackendRequest.VringHostNotifierMsg, 24);
        MessageValidator.CheckRequest(VhostUserChannel.Backend, header, 0, without).IsValid.Should().BeTrue();
        MessageValidator.CheckRequest(VhostUserChannel.Backend, header, 1, _all).IsValid.Should().BeTrue();
        MessageCheck check = MessageValidator.CheckRequest(VhostUserChannel.Backend, header, 1, without);
        check.Violation.Should().Be(VhostUserViolation.FeatureNotNegotiated);
        check.Explanation.Should().Contain("with a descriptor: needs protocol feature BACKEND_SEND_FD");
    }

    [Fact]
    public void Xen_regions_have_the_larger_sizes_once_negotiated()
    {
        NegotiatedState xen = _all with { Protocol = PF.All };
        Check(VhostUserRequest.SetMemTable, 8 + 2 * 40, 2, xen).IsValid.Should().BeTrue();
        Check(VhostUserRequest.SetMemTable, 8 + 32, 1, xen).Violation.Should().Be(VhostUserViolation.PayloadSizeMismatch);
        Check(VhostUserRequest.AddMemReg, 48, 1, xen).IsValid.Should().BeTrue();
        Check(VhostUserRequest.AddMemReg, 40, 1, xen).Violation.Should().Be(VhostUserViolation.PayloadTooShort);
        Check(VhostUserRequest.RemMemReg, 48, 0, _all).Violation.Should().Be(VhostUserViolation.PayloadTooLong);
    }

    [Theory]
    [InlineData(4109u)]
    [InlineData(0x80000000u)]
    [InlineData(uint.MaxValue)]
    public void B03_a_payload_beyond_the_limit_is_refused_by_the_header_alone(uint size)
    {
        MessageCheck check = MessageValidator.CheckHeader(new VhostUserHeader(2, VhostUserHeaderFlags.Version1, size));
        check.Violation.Should().Be(VhostUserViolation.PayloadTooLong);
        check.Explanation.Should().Be(
            $"VHOST_USER_SET_FEATURES: the header announces a payload of {size} bytes; at most 4108 are taken.");
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(46u)]
    [InlineData(255u)]
    [InlineData(0x7fffffffu)]
    public void B05_a_code_that_is_not_assigned_is_unknown(uint code)
    {
        MessageCheck check = MessageValidator.CheckRequest(VhostUserChannel.Main, new(code, VhostUserHeaderFlags.Version1, 0), 0, _all);
        check.Violation.Should().Be(VhostUserViolation.UnknownRequest);
        check.Explanation.Should().Be($"main channel: request code {code} is not assigned; codes 1 to 45 are known.");
    }

    [Theory]
    [InlineData(VhostUserChannel.Backend, "back-end channel: request code 99 is not assigned; codes 1 to 10 are known.")]
    [InlineData(VhostUserChannel.Gpu, "GPU channel: request code 99 is not assigned; codes 1 to 12 are known.")]
    public void B05_the_other_channels_have_their_own_codes(VhostUserChannel channel, string explanation) =>
        MessageValidator.CheckRequest(channel, new(99, (VhostUserHeaderFlags)(channel == VhostUserChannel.Gpu ? 0 : 1), 0), 0, _all)
            .Explanation.Should().Be(explanation);

    [Theory]
    [InlineData(0x0u, VhostUserViolation.BadVersion)]
    [InlineData(0x2u, VhostUserViolation.BadVersion)]
    [InlineData(0x3u, VhostUserViolation.BadVersion)]
    [InlineData(0x8u, VhostUserViolation.BadVersion)]
    [InlineData(0x11u, VhostUserViolation.ReservedFlags)]
    [InlineData(0x80000001u, VhostUserViolation.ReservedFlags)]
    [InlineData(0x5u, VhostUserViolation.ReplyFlagInRequest)]
    [InlineData(0xdu, VhostUserViolation.ReplyFlagInRequest)]
    public void B06_wrong_flags_in_a_request_are_refused(uint flags, VhostUserViolation violation)
    {
        MessageCheck check = MessageValidator.CheckRequest(VhostUserChannel.Main, new(3, (VhostUserHeaderFlags)flags, 0), 0, _all);
        check.Violation.Should().Be(violation);
        check.Explanation.Should().StartWith("VHOST_USER_SET_OWNER: header flags 0x" + flags.ToString("x", null));
    }

    [Fact]
    public void B07_need_reply_without_reply_ack_is_no_violation() =>
        MessageValidator.CheckRequest(VhostUserChannel.Main, VhostUserHeader.ForRequest(VhostUserRequest.SetOwner, 0, true), 0, default)
            .IsValid.Should().BeTrue();

    [Fact]
    public void F01_a_reply_to_another_request_names_both()
    {
        VhostUserHeader request = VhostUserHeader.ForRequest(VhostUserRequest.GetFeatures, 0);
        MessageCheck check = MessageValidator.CheckReply(VhostUserChannel.Main, request, new(17, (VhostUserHeaderFlags)5, 8), 0);
        check.Violation.Should().Be(VhostUserViolation.UnexpectedReply);
        check.Explanation.Should().Contain("VHOST_USER_GET_FEATURES (1)").And.Contain("VHOST_USER_GET_QUEUE_NUM (17)");
    }

    [Theory]
    [InlineData(0x1u, VhostUserViolation.UnexpectedReply)]
    [InlineData(0x9u, VhostUserViolation.UnexpectedReply)]
    [InlineData(0x4u, VhostUserViolation.BadVersion)]
    [InlineData(0x6u, VhostUserViolation.BadVersion)]
    [InlineData(0x15u, VhostUserViolation.ReservedFlags)]
    [InlineData(0x5u, VhostUserViolation.None)]
    [InlineData(0xdu, VhostUserViolation.None)]
    public void F01_the_flags_of_a_reply_are_judged(uint flags, VhostUserViolation violation)
    {
        VhostUserHeader request = VhostUserHeader.ForRequest(VhostUserRequest.GetFeatures, 0);
        MessageValidator.CheckReply(VhostUserChannel.Main, request, new(1, (VhostUserHeaderFlags)flags, 8), 0)
            .Violation.Should().Be(violation);
    }

    [Theory]
    [MemberData(nameof(EveryMessage))]
    public void F02_exactly_the_reply_sizes_of_the_contract_are_accepted(VhostUserChannel channel, uint code)
    {
        MessageContracts.TryGet(channel, code, out MessageContract? contract);
        VhostUserHeader request = Header(contract!) with { PayloadSize = (uint)contract!.Payload.Max };
        for (uint size = 0; size < 4200; size++)
        {
            VhostUserHeader reply = Reply(request, size);
            bool legal = contract.ReplyPayload.Contains(size) || (contract.ReplyMayHaveRequestSize && size == request.PayloadSize);
            MessageValidator.CheckReply(channel, request, reply, contract.MinReplyDescriptors).IsValid.Should().Be(legal);
        }
    }

    [Fact]
    public void F02_real_reply_sizes_of_odd_messages_are_accepted()
    {
        foreach (uint size in new uint[] { 0, 8, 16 })
            ReplySize(VhostUserRequest.SetLogBase, 16, size).IsValid.Should().BeTrue();
        foreach (uint size in new uint[] { 0, 12, 72 })
            ReplySize(VhostUserRequest.GetConfig, 72, size).IsValid.Should().BeTrue();
        ReplySize(VhostUserRequest.GetConfig, 72, 71).Explanation.Should()
            .Be("VHOST_USER_GET_CONFIG: reply payload of 71 bytes; 0 or 12, or 72 as in the request, allowed.");
        foreach (uint size in new uint[] { 0, 1, 16, 4000 })
            ReplySize(VhostUserRequest.GetSharedObject, 16, size).IsValid.Should().BeTrue();
        foreach (uint size in new uint[] { 8, 72 })
            ReplySize(VhostUserRequest.SetMemTable, 72, size).IsValid.Should().BeTrue();
        ReplySize(VhostUserRequest.SetMemTable, 72, 40).IsValid.Should().BeFalse();
        ReplySize(VhostUserRequest.GetInflightFd, 24, 20).IsValid.Should().BeTrue();
        ReplySize(VhostUserRequest.GetFeatures, 0, uint.MaxValue).Violation.Should().Be(VhostUserViolation.PayloadTooLong);
    }

    [Theory]
    [MemberData(nameof(EveryMessage))]
    public void F04_exactly_the_descriptor_counts_of_replies_are_accepted(VhostUserChannel channel, uint code)
    {
        MessageContracts.TryGet(channel, code, out MessageContract? contract);
        VhostUserHeader request = Header(contract!);
        VhostUserHeader reply = Reply(request, (uint)contract!.MinReplyPayload);
        foreach (int count in new[] { 0, 1, 2, 8 })
        {
            MessageCheck check = MessageValidator.CheckReply(channel, request, reply, count);
            check.IsValid.Should().Be(count >= contract.MinReplyDescriptors && count <= contract.MaxReplyDescriptors);
            if (!check.IsValid)
                check.Explanation.Should().StartWith($"{contract.Name}: {count} descriptors came with the reply;");
        }
    }

    [Fact]
    public void A_reply_to_a_request_that_is_not_assigned_is_taken_as_it_comes() =>
        MessageValidator.CheckReply(VhostUserChannel.Main, new(77, (VhostUserHeaderFlags)1, 0), new(77, (VhostUserHeaderFlags)5, 99), 3)
            .IsValid.Should().BeTrue("a tester who sends it judges the answer");

    [Fact]
    public void Any_header_gets_a_verdict_and_every_refusal_an_explanation()
    {
        Prop.ForAll(
            ArbMap.Default.ArbFor<(uint Request, uint Flags, uint Size)>(),
            ArbMap.Default.ArbFor<(int Descriptors, uint Answer, ulong Features)>(),
            (a, b) =>
            {
                VhostUserHeader header = new(a.Request % 50, (VhostUserHeaderFlags)(a.Flags % 16), a.Size % 300);
                NegotiatedState state = new((VirtioFeatures)b.Features, (VirtioFeatures)b.Features, (PF)b.Features, (PF)b.Features);
                foreach (VhostUserChannel channel in Enum.GetValues<VhostUserChannel>())
                {
                    Explained(MessageValidator.CheckRequest(channel, header, b.Descriptors, state));
                    Explained(MessageValidator.CheckReply(channel, header, new(a.Request % 50, (VhostUserHeaderFlags)5, b.Answer), b.Descriptors));
                }
            }).QuickCheckThrowOnFailure();

        static void Explained(MessageCheck check) => string.IsNullOrEmpty(check.Explanation).Should().Be(check.IsValid);
    }

    [Fact]
    public void A_valid_message_is_judged_without_allocation()
    {
        VhostUserHeader request = VhostUserHeader.ForRequest(VhostUserRequest.GetConfig, 72);
        VhostUserHeader reply = request.AsReply(72);
        Judge();
        Allocations.OfThisThread(() =>
        {
            for (int i = 0; i < 1000; i++)
                Judge();
        }).Should().Be(0);

        void Judge()
        {
            _ = MessageValidator.CheckRequest(VhostUserChannel.Main, request, 0, _all);
            _ = MessageValidator.CheckReply(VhostUserChannel.Main, request, reply, 0);
            _ = MessageContracts.NameOf(VhostUserChannel.Main, request.Request);
        }
    }

    [Fact]
    public void A_verdict_becomes_an_exception()
    {
        MessageCheck check = MessageValidator.CheckHeader(new VhostUserHeader(2, VhostUserHeaderFlags.None, 8));
        VhostUserProtocolException exception = check.ToException(2);
        exception.Violation.Should().Be(VhostUserViolation.BadVersion);
        exception.RequestCode.Should().Be(2);
        exception.Message.Should().Be(check.Explanation);
        default(MessageCheck).ToException().Violation.Should().Be(VhostUserViolation.None);
    }

    private static VhostUserHeader Header(MessageContract contract) =>
        new(contract.Code, contract.Channel == VhostUserChannel.Gpu ? VhostUserHeaderFlags.None : VhostUserHeaderFlags.Version1, (uint)contract.MinPayload);

    private static VhostUserHeader Reply(VhostUserHeader request, uint size) =>
        request with { Flags = VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, PayloadSize = size };

    private static MessageCheck Check(MessageContract contract, uint size, int descriptors) =>
        MessageValidator.CheckRequest(contract.Channel, Header(contract) with { PayloadSize = size }, descriptors, _all);

    private static MessageCheck Check(VhostUserRequest request, int size, int descriptors, in NegotiatedState state) =>
        MessageValidator.CheckRequest(VhostUserChannel.Main, VhostUserHeader.ForRequest(request, size), descriptors, state);

    private static MessageCheck ReplySize(VhostUserRequest request, int requestSize, uint replySize)
    {
        VhostUserHeader header = VhostUserHeader.ForRequest(request, requestSize);
        return MessageValidator.CheckReply(VhostUserChannel.Main, header, Reply(header, replySize), 0);
    }
}
