using System.Text;

namespace Vhost.Protocol.Tests;

public sealed class MessageContractsTests
{
    [Fact]
    public void Every_request_of_every_channel_has_a_row_with_the_specifications_name()
    {
        Check<VhostUserRequest>(VhostUserChannel.Main, 45, "VHOST_USER_");
        Check<VhostUserBackendRequest>(VhostUserChannel.Backend, 10, "VHOST_USER_BACKEND_");
        Check<VhostUserGpuRequest>(VhostUserChannel.Gpu, 12, "VHOST_USER_GPU_");
        MessageContracts.All.Should().HaveCount(45 + 10 + 12);

        static void Check<T>(VhostUserChannel channel, int count, string prefix)
            where T : struct, Enum
        {
            Enum.GetValues<T>().Should().HaveCount(count);
            for (uint code = 1; code <= (uint)count; code++)
            {
                MessageContracts.TryGet(channel, code, out MessageContract? contract).Should().BeTrue();
                contract!.Channel.Should().Be(channel);
                contract.Code.Should().Be(code);
                contract.Name.Should().Be(prefix + Spelling(Enum.GetName((T)Enum.ToObject(typeof(T), code))!));
            }
        }
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(46u)]
    [InlineData(255u)]
    [InlineData(0x7fffffffu)]
    [InlineData(uint.MaxValue)]
    public void A_code_that_is_not_assigned_has_a_name_but_no_row(uint code)
    {
        MessageContracts.TryGet((VhostUserRequest)code, out MessageContract? contract).Should().BeFalse();
        contract.Should().BeNull();
        MessageContracts.NameOf(VhostUserChannel.Main, code).Should().Be($"unknown request {code}");
        MessageContracts.TryGet((VhostUserBackendRequest)code, out _).Should().BeFalse();
        MessageContracts.TryGet((VhostUserGpuRequest)code, out _).Should().BeFalse();
    }

    [Fact]
    public void Rows_are_found_by_request()
    {
        MessageContracts.TryGet(VhostUserRequest.SetVringNum, out MessageContract? contract).Should().BeTrue();
        contract!.Name.Should().Be("VHOST_USER_SET_VRING_NUM");
        MessageContracts.NameOf(VhostUserRequest.GetVringBaseSkipDrain).Should().Be("VHOST_USER_GET_VRING_BASE_SKIP_DRAIN");
        MessageContracts.NameOf(VhostUserBackendRequest.ShmemUnmap).Should().Be("VHOST_USER_BACKEND_SHMEM_UNMAP");
    }

    [Fact]
    public void Every_row_is_consistent()
    {
        foreach (MessageContract row in MessageContracts.All)
        {
            row.MinPayload.Should().BeInRange(0, row.MaxPayload, row.Name);
            row.Payload.Step.Should().BePositive();
            row.MinDescriptors.Should().BeInRange(0, row.MaxDescriptors, row.Name);
            row.MinReplyDescriptors.Should().BeInRange(0, row.MaxReplyDescriptors, row.Name);
            row.MinReplyPayload.Should().BeInRange(0, row.MaxReplyPayload, row.Name);
            row.MaxDescriptors.Should().BeLessThanOrEqualTo(VhostUserHeader.MaxDescriptors);
            row.Section.Should().NotBeEmpty();
            if (row.Channel != VhostUserChannel.Gpu)
            {
                row.MaxPayload.Should().BeLessThanOrEqualTo(VhostUserHeader.MaxPayloadSize);
                row.MaxReplyPayload.Should().BeLessThanOrEqualTo(VhostUserHeader.MaxPayloadSize);
            }

            (row.Layout == PayloadLayout.Empty).Should().Be(row.MaxPayload == 0, row.Name);
        }
    }

    [Fact]
    public void Every_protocol_feature_but_the_ones_that_gate_no_message_gates_one()
    {
        VhostUserProtocolFeatures gating = VhostUserProtocolFeatures.None;
        foreach (MessageContract row in MessageContracts.All)
            gating |= row.RequiredProtocolFeatures | row.RequiredOfferedProtocolFeatures;
        VhostUserProtocolFeatures others = VhostUserProtocolFeatures.LogShmFd | VhostUserProtocolFeatures.ReplyAck
            | VhostUserProtocolFeatures.BackendSendFd | VhostUserProtocolFeatures.XenMmap | VhostUserProtocolFeatures.GpaAddresses;
        gating.Should().Be(VhostUserProtocolFeatures.All & ~others);
    }

    [Fact]
    public void Every_back_end_request_needs_the_back_end_channel() =>
        MessageContracts.All.Where(row => row.Channel == VhostUserChannel.Backend).Should()
            .OnlyContain(row => (row.RequiredProtocolFeatures & VhostUserProtocolFeatures.BackendReq) != 0);

    [Fact]
    public void Acknowledgements_come_when_they_were_negotiated_and_wanted()
    {
        NegotiatedState all = NegotiatedState.Everything;
        NegotiatedState none = all with { Protocol = VhostUserProtocolFeatures.None };
        Answered(VhostUserRequest.SetVringNum, true, all).Should().BeTrue();
        Answered(VhostUserRequest.SetVringNum, true, none).Should().BeFalse();
        Answered(VhostUserRequest.SetVringNum, false, all).Should().BeFalse();
        Answered(VhostUserRequest.GetFeatures, false, none).Should().BeTrue();
        Answered(VhostUserRequest.SetLogBase, false, all).Should().BeTrue("LOG_SHMFD is negotiated");
        Answered(VhostUserRequest.SetLogBase, false, none).Should().BeFalse();
        Answered(VhostUserRequest.SetMemTable, false, all).Should().BeFalse();
        Answered(VhostUserRequest.SetMemTable, false, all, postcopy: true).Should().BeTrue();
        Answered(VhostUserRequest.AddMemReg, false, none, postcopy: true).Should().BeTrue();
        MessageContracts.TryGet(VhostUserGpuRequest.Scanout, out MessageContract? gpu);
        gpu!.IsAnswered(new(7, (VhostUserHeaderFlags)9, 12), all).Should().BeFalse();
    }

    [Theory]
    [InlineData(VhostUserRequest.IotlbMsg)]
    [InlineData(VhostUserRequest.PostcopyListen)]
    [InlineData(VhostUserRequest.PostcopyEnd)]
    public void B07_the_three_messages_that_qemu_waits_for_are_answered_without_reply_ack(VhostUserRequest request)
    {
        NegotiatedState none = NegotiatedState.Everything with { Protocol = VhostUserProtocolFeatures.None };
        Answered(request, true, none).Should().BeTrue();
        Answered(request, false, none).Should().BeFalse();
        MessageContracts.All.Where(row => row.Reply == ReplyRule.AlwaysWhenNeedReply).Should().HaveCount(3);
    }

    [Fact]
    public void Ranges_judge_sizes_at_full_width_and_say_what_they_allow()
    {
        PayloadRange steps = new(8, 264, 32);
        steps.Contains(8).Should().BeTrue();
        steps.Contains(40).Should().BeTrue();
        steps.Contains(41).Should().BeFalse();
        steps.Contains(296).Should().BeFalse();
        steps.Contains(uint.MaxValue).Should().BeFalse();
        steps.ToString().Should().Be("8 to 264 in steps of 32");
        PayloadRange.Exactly(8).ToString().Should().Be("8");
        PayloadRange.Either(20, 24).ToString().Should().Be("20 or 24");
        new PayloadRange(12, 268).ToString().Should().Be("12 to 268");
    }

    private static bool Answered(VhostUserRequest request, bool needReply, in NegotiatedState state, bool postcopy = false)
    {
        MessageContracts.TryGet(request, out MessageContract? contract).Should().BeTrue();
        return contract!.IsAnswered(VhostUserHeader.ForRequest(request, 0, needReply), state, postcopy);
    }

    private static string Spelling(string name)
    {
        StringBuilder text = new();
        foreach (char c in name)
        {
            if (char.IsUpper(c) && text.Length > 0)
                text.Append('_');
            text.Append(char.ToUpperInvariant(c));
        }

        return text.ToString();
    }
}
