namespace Vhost.Protocol.Tests;

public sealed class VringDescriptorTests
{
    [Fact]
    public void The_ring_is_in_the_low_byte_and_bit_8_says_no_descriptor()
    {
        VhostUserVringDescriptor word = VhostUserVringDescriptor.Create(255, noDescriptor: true);
        word.Raw.Should().Be(0x1ff);
        word.Index.Should().Be(255);
        word.NoDescriptor.Should().BeTrue();
        word.HasReservedBits.Should().BeFalse();
        VhostUserVringDescriptor.Create(3, noDescriptor: false).Raw.Should().Be(3);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(256)]
    public void Rings_beyond_the_byte_cannot_be_named(int index) =>
        FluentActions.Invoking(() => VhostUserVringDescriptor.Create(index, false)).Should().Throw<ArgumentOutOfRangeException>();

    [Theory]
    [InlineData(0x200ul)]
    [InlineData(1ul << 32)]
    [InlineData(1ul << 63)]
    public void B13_bits_above_8_are_reported(ulong raw)
    {
        new VhostUserVringDescriptor(raw).HasReservedBits.Should().BeTrue();
        new VhostUserVringDescriptor(raw).Index.Should().Be(0);
    }

    [Fact]
    public void A_device_state_reply_has_error_and_no_descriptor()
    {
        VhostUserDeviceStateReply reply = VhostUserDeviceStateReply.Create(5, noDescriptor: true);
        reply.Raw.Should().Be(0x105);
        reply.Error.Should().Be(5);
        reply.NoDescriptor.Should().BeTrue();
        VhostUserDeviceStateReply.Create(0, noDescriptor: false).Should().Be(new VhostUserDeviceStateReply(0));
    }
}
