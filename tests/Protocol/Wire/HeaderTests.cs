using FsCheck;
using FsCheck.Fluent;

namespace Vhost.Protocol.Tests;

public sealed class HeaderTests
{
    [Fact]
    public void A_request_has_its_code_version_and_size_at_0_4_and_8()
    {
        byte[] bytes = new byte[12];
        VhostUserHeader.ForRequest(VhostUserRequest.SetVringAddr, 40).Write(bytes);
        Convert.ToHexString(bytes).Should().Be("090000000100000028000000");
        VhostUserHeader.ForRequest(VhostUserRequest.SetFeatures, 8, needReply: true).Flags.Should().Be((VhostUserHeaderFlags)0x9);
        VhostUserHeader.ForRequest(VhostUserBackendRequest.ShmemMap, 40, needReply: true).Should()
            .Be(new VhostUserHeader(9, (VhostUserHeaderFlags)0x9, 40));
        VhostUserHeader.ForRequest(VhostUserGpuRequest.Scanout, 12).Should().Be(new VhostUserHeader(7, VhostUserHeaderFlags.None, 12));
    }

    [Fact]
    public void A_reply_has_flags_exactly_5_even_when_the_request_wanted_an_acknowledgement()
    {
        VhostUserHeader reply = VhostUserHeader.ForRequest(VhostUserRequest.SetOwner, 0, needReply: true).AsReply(8);
        reply.Should().Be(new VhostUserHeader(3, (VhostUserHeaderFlags)0x5, 8));
        reply.IsReply.Should().BeTrue();
        reply.NeedsReply.Should().BeFalse();
    }

    [Fact]
    public void A_negative_payload_is_refused() =>
        FluentActions.Invoking(() => VhostUserHeader.ForRequest(VhostUserRequest.SetOwner, -1)).Should().Throw<OverflowException>();

    [Fact]
    public void Every_truncation_is_refused()
    {
        byte[] bytes = new byte[12];
        for (int size = 0; size < 12; size++)
            VhostUserHeader.TryRead(bytes.AsSpan(0, size), out _).Should().BeFalse();
        VhostUserHeader.TryRead(bytes, out _).Should().BeTrue();
        FluentActions.Invoking(() => default(VhostUserHeader).Write(new byte[11])).Should().Throw<ArgumentException>();
    }

    [Fact]
    public void Any_header_survives_encoding()
    {
        Prop.ForAll(
            ArbMap.Default.ArbFor<(uint Request, uint Flags, uint Size)>(),
            fields =>
            {
                VhostUserHeader header = new(fields.Request, (VhostUserHeaderFlags)fields.Flags, fields.Size);
                byte[] bytes = new byte[VhostUserHeader.EncodedSize];
                header.Write(bytes);
                VhostUserHeader.TryRead(bytes, out VhostUserHeader read).Should().BeTrue();
                read.Should().Be(header);
            }).QuickCheckThrowOnFailure();
    }
}
