using PF = Vhost.Protocol.VhostUserProtocolFeatures;

namespace Vhost.Protocol.Tests;

public sealed class PayloadValidatorTests
{
    [Theory]
    [InlineData(2u)]
    [InlineData(0x10000u)]
    [InlineData(uint.MaxValue)]
    public void B13_a_ring_that_does_not_exist_is_refused(uint index)
    {
        MessageCheck check = PayloadValidator.CheckQueueIndex(VhostUserRequest.SetVringBase, index, 2);
        check.Violation.Should().Be(VhostUserViolation.BadQueueIndex);
        check.Explanation.Should().Be($"VHOST_USER_SET_VRING_BASE: ring {index} does not exist; 0 to 1 do.");
        PayloadValidator.CheckQueueIndex(VhostUserRequest.SetVringBase, 1, 2).IsValid.Should().BeTrue();
    }

    [Theory]
    [InlineData(0u, false, false)]
    [InlineData(1u, true, true)]
    [InlineData(3u, false, true)]
    [InlineData(256u, true, true)]
    [InlineData(32768u, true, true)]
    [InlineData(32769u, false, false)]
    [InlineData(65535u, false, false)]
    [InlineData(65536u, false, false)]
    [InlineData(uint.MaxValue, false, false)]
    [InlineData(0x80000000u, false, false)]
    public void B14_queue_sizes_follow_the_ring_layout(uint size, bool split, bool packed)
    {
        PayloadValidator.CheckQueueSize(new(1, size), PayloadValidator.MaxQueueSize, packed: false).IsValid.Should().Be(split);
        MessageCheck check = PayloadValidator.CheckQueueSize(new(1, size), PayloadValidator.MaxQueueSize, packed: true);
        check.IsValid.Should().Be(packed);
        if (!packed)
            check.Explanation.Should().Be($"VHOST_USER_SET_VRING_NUM: size {size} of ring 1; a packed ring takes 1 to 32768.");
    }

    [Fact]
    public void B14_the_devices_limit_is_in_the_text() =>
        PayloadValidator.CheckQueueSize(new(0, 512), 256, packed: false).Explanation.Should()
            .Be("VHOST_USER_SET_VRING_NUM: size 512 of ring 0; a split ring takes a power of two from 1 to 256.");

    [Theory]
    [InlineData(0x0ul, 1, VhostUserViolation.None)]
    [InlineData(0x101ul, 0, VhostUserViolation.None)]
    [InlineData(0x0ul, 0, VhostUserViolation.WrongDescriptorCount)]
    [InlineData(0x101ul, 1, VhostUserViolation.WrongDescriptorCount)]
    [InlineData(0x2ul, 1, VhostUserViolation.BadQueueIndex)]
    [InlineData(0x200ul, 1, VhostUserViolation.BadValue)]
    [InlineData(0x100000000ul, 1, VhostUserViolation.BadValue)]
    public void B11_bit_8_must_agree_with_what_came(ulong raw, int descriptors, VhostUserViolation violation)
    {
        MessageCheck check = PayloadValidator.CheckVringDescriptor(VhostUserRequest.SetVringKick, new(raw), descriptors, 2);
        check.Violation.Should().Be(violation);
        if (!check.IsValid)
            check.Explanation.Should().StartWith("VHOST_USER_SET_VRING_KICK: ");
    }

    [Theory]
    [InlineData(0u, 0, VhostUserViolation.None)]
    [InlineData(8u, 8, VhostUserViolation.None)]
    [InlineData(2u, 1, VhostUserViolation.WrongDescriptorCount)]
    [InlineData(0u, 1, VhostUserViolation.WrongDescriptorCount)]
    [InlineData(9u, 8, VhostUserViolation.TooManyMemoryRegions)]
    [InlineData(uint.MaxValue, 8, VhostUserViolation.TooManyMemoryRegions)]
    public void B19_count_and_descriptors_of_a_memory_table_agree(uint count, int descriptors, VhostUserViolation violation)
    {
        byte[] payload = new byte[8 + 32 * (int)Math.Min(count, 9)];
        BitConverter.TryWriteBytes(payload, count);
        PayloadValidator.CheckMemoryTable(payload, descriptors).Violation.Should().Be(violation);
    }

    [Fact]
    public void B19_a_memory_table_that_is_shorter_or_longer_than_its_count_is_refused()
    {
        byte[] payload = new byte[8 + 3 * 32];
        payload[0] = 2;
        PayloadValidator.CheckMemoryTable(payload, 2).Violation.Should().Be(VhostUserViolation.PayloadSizeMismatch);
        PayloadValidator.CheckMemoryTable(payload.AsSpan(0, 40), 2).Violation.Should().Be(VhostUserViolation.PayloadSizeMismatch);
        PayloadValidator.CheckMemoryTable(payload.AsSpan(0, 88), 2, xen: true).IsValid.Should().BeTrue();
        PayloadValidator.CheckMemoryTable(payload.AsSpan(0, 4), 0).Violation.Should().Be(VhostUserViolation.PayloadTooShort);
    }

    [Theory]
    [InlineData(0ul, 0ul, 0ul, 0ul, "is empty")]
    [InlineData(ulong.MaxValue, 2ul, 0ul, 0ul, "wraps in the guest's address space")]
    [InlineData(0ul, 0x1001ul, 0xfffffffffffff000ul, 0ul, "wraps in the front-end's address space")]
    [InlineData(0ul, 0x1000ul, 0ul, 0xfffffffffffff001ul, "wraps in its descriptor")]
    [InlineData(1ul, ulong.MaxValue, 0ul, 0ul, null)]
    [InlineData(0xfffffffffffff000ul, 0x1000ul, 0xfffffffffffff000ul, 0ul, null)]
    public void B20_empty_and_wrapping_regions_are_refused(ulong guest, ulong size, ulong user, ulong offset, string? wrong)
    {
        MessageCheck check = PayloadValidator.CheckRegion(new(new(guest), size, new(user), offset));
        check.IsValid.Should().Be(wrong is null);
        if (wrong is not null)
        {
            check.Violation.Should().Be(VhostUserViolation.MemoryRegionInvalid);
            check.Explanation.Should().EndWith(wrong + ".");
        }
    }

    [Fact]
    public void B24_a_feature_that_was_not_offered_is_refused()
    {
        MessageCheck check = PayloadValidator.CheckFeatures(
            VirtioFeatures.Version1 | VirtioFeatures.RingPacked, VirtioFeatures.Version1 | VirtioFeatures.EventIndex);
        check.Violation.Should().Be(VhostUserViolation.BadFeatureBits);
        check.Explanation.Should().Be(
            "VHOST_USER_SET_FEATURES: RING_PACKED (0x400000000) was acknowledged but not offered; offered: EVENT_IDX VERSION_1 (0x120000000).");
        PayloadValidator.CheckFeatures(VirtioFeatures.None, VirtioFeatures.None).IsValid.Should().BeTrue();
    }

    [Fact]
    public void B25_a_protocol_feature_that_was_not_offered_is_refused()
    {
        MessageCheck check = PayloadValidator.CheckProtocolFeatures(PF.MultiQueue | (PF)(1UL << 40), PF.MultiQueue);
        check.Violation.Should().Be(VhostUserViolation.BadFeatureBits);
        check.Explanation.Should().Contain("bit 40 (0x10000000000) was acknowledged but not offered");
        PayloadValidator.CheckProtocolFeatures(PF.MultiQueue, PF.All).IsValid.Should().BeTrue();
    }

    [Theory]
    [InlineData(PF.InbandNotifications, PF.BackendReq | PF.ReplyAck)]
    [InlineData(PF.InbandNotifications | PF.ReplyAck, PF.BackendReq)]
    [InlineData(PF.GetVringBaseInflight, PF.InflightShmFd)]
    [InlineData(PF.GetVringBaseSkipDrain, PF.GetVringBaseInflight | PF.InflightShmFd)]
    [InlineData(PF.All, PF.None)]
    public void B25_features_that_need_others_are_refused_without_them(PF features, PF missing)
    {
        PayloadValidator.MissingDependencies(features).Should().Be(missing);
        PayloadValidator.CheckProtocolFeatures(features, PF.All).IsValid.Should().Be(missing == PF.None);
    }

    [Theory]
    [InlineData(0u, 60u, 60, VhostUserViolation.None)]
    [InlineData(59u, 1u, 60, VhostUserViolation.None)]
    [InlineData(0u, 61u, 60, VhostUserViolation.BadConfigRange)]
    [InlineData(60u, 1u, 60, VhostUserViolation.BadConfigRange)]
    [InlineData(0u, 0u, 60, VhostUserViolation.BadConfigRange)]
    [InlineData(uint.MaxValue, 1u, 60, VhostUserViolation.BadConfigRange)]
    [InlineData(uint.MaxValue, 256u, 256, VhostUserViolation.BadConfigRange)]
    public void B30_a_window_outside_configuration_space_is_refused(uint offset, uint size, int length, VhostUserViolation violation)
    {
        byte[] payload = new byte[12 + size];
        new VhostUserConfig(offset, size, VhostUserConfigFlags.Writable).Write(payload);
        PayloadValidator.CheckConfig(VhostUserRequest.GetConfig, payload, length).Violation.Should().Be(violation);
    }

    [Fact]
    public void B30_a_window_that_is_not_the_payloads_is_refused()
    {
        byte[] payload = new byte[12 + 4];
        new VhostUserConfig(0, 8, VhostUserConfigFlags.Writable).Write(payload);
        PayloadValidator.CheckConfig(VhostUserRequest.SetConfig, payload, 60).Explanation.Should()
            .Be("VHOST_USER_SET_CONFIG: size 8 in a payload of 16 bytes; the payload must be 12 + size, and size at most 256.");
    }

    [Theory]
    [InlineData(0x1000ul, 0ul, 1, VhostUserViolation.None)]
    [InlineData(0ul, ulong.MaxValue, 0, VhostUserViolation.None)]
    [InlineData(0x1000ul, 0ul, 0, VhostUserViolation.WrongDescriptorCount)]
    [InlineData(0ul, 0ul, 1, VhostUserViolation.WrongDescriptorCount)]
    [InlineData(0x1000ul, ulong.MaxValue, 1, VhostUserViolation.BadValue)]
    public void F04_an_in_flight_area_comes_with_its_descriptor(ulong size, ulong offset, int descriptors, VhostUserViolation violation) =>
        PayloadValidator.CheckInflightReply(new(size, offset, 1, 128), descriptors).Violation.Should().Be(violation);

    [Theory]
    [InlineData(0x0ul, 1, true)]
    [InlineData(0x100ul, 0, true)]
    [InlineData(0x101ul, 0, true)]
    [InlineData(0x0ul, 0, false)]
    [InlineData(0x100ul, 1, false)]
    public void F04_a_device_state_reply_says_whether_a_descriptor_came(ulong raw, int descriptors, bool valid) =>
        PayloadValidator.CheckDeviceStateReply(new(raw), descriptors).IsValid.Should().Be(valid);
}
