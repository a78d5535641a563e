using System.Globalization;
using System.Numerics;

namespace Vhost.Protocol;

/// <summary>
/// Judges the fields of payloads that follow rules of the protocol alone, without knowing a device. Pure; allocates only when it explains a
/// violation. A receiver answers a violation with a refusal and keeps its state.
/// </summary>
public static class PayloadValidator
{
    /// <summary>The largest queue size of either ring layout (virtio "Virtqueues").</summary>
    public const int MaxQueueSize = 32768;

    private static readonly CultureInfo _culture = CultureInfo.InvariantCulture;

    /// <summary>SET_FEATURES: only what was offered may be acknowledged.</summary>
    public static MessageCheck CheckFeatures(VirtioFeatures acknowledged, VirtioFeatures offered) =>
        (acknowledged & ~offered) is not 0 and var extra
            ? new(
                VhostUserViolation.BadFeatureBits,
                $"VHOST_USER_SET_FEATURES: {FeatureNames.Describe(extra)} was acknowledged but not offered; offered: {FeatureNames.Describe(offered)}.")
            : default;

    /// <summary>SET_PROTOCOL_FEATURES: only what was offered may be acknowledged, and some features need others.</summary>
    public static MessageCheck CheckProtocolFeatures(VhostUserProtocolFeatures acknowledged, VhostUserProtocolFeatures offered)
    {
        const string Name = "VHOST_USER_SET_PROTOCOL_FEATURES";
        if ((acknowledged & ~offered) is not 0 and var extra)
        {
            return new(
                VhostUserViolation.BadFeatureBits,
                $"{Name}: {FeatureNames.Describe(extra)} was acknowledged but not offered; offered: {FeatureNames.Describe(offered)}.");
        }

        return MissingDependencies(acknowledged) is not 0 and var missing
            ? new(
                VhostUserViolation.BadFeatureBits,
                $"{Name}: {FeatureNames.Describe(acknowledged)} was acknowledged without {FeatureNames.Describe(missing)}, which it needs.")
            : default;
    }

    /// <summary>The protocol features that others in the set need and that are not in it (vhost-user "Protocol features").</summary>
    public static VhostUserProtocolFeatures MissingDependencies(VhostUserProtocolFeatures features)
    {
        VhostUserProtocolFeatures needed = VhostUserProtocolFeatures.None;
        if ((features & VhostUserProtocolFeatures.InbandNotifications) != 0)
            needed |= VhostUserProtocolFeatures.BackendReq | VhostUserProtocolFeatures.ReplyAck;
        if ((features & VhostUserProtocolFeatures.GetVringBaseInflight) != 0)
            needed |= VhostUserProtocolFeatures.InflightShmFd;
        if ((features & VhostUserProtocolFeatures.GetVringBaseSkipDrain) != 0)
            needed |= VhostUserProtocolFeatures.GetVringBaseInflight | VhostUserProtocolFeatures.InflightShmFd;
        return needed & ~features;
    }

    /// <summary>Any message that names a ring: it must exist.</summary>
    /// <param name="request">The message.</param>
    /// <param name="index">The ring as it was on the wire.</param>
    /// <param name="queueCount">Rings the device has.</param>
    public static MessageCheck CheckQueueIndex(VhostUserRequest request, uint index, int queueCount) => index < (uint)queueCount
        ? default
        : new(
            VhostUserViolation.BadQueueIndex,
            string.Create(_culture, $"{MessageContracts.NameOf(request)}: ring {index} does not exist; 0 to {queueCount - 1} do."));

    /// <summary>SET_VRING_NUM: a power of two for split rings, any number for packed ones, never 0 or above the device's limit.</summary>
    /// <param name="state">The ring and its size.</param>
    /// <param name="maxSize">The device's limit, at most <see cref="MaxQueueSize"/>.</param>
    /// <param name="packed">VIRTIO_F_RING_PACKED is negotiated.</param>
    public static MessageCheck CheckQueueSize(in VhostUserVringState state, int maxSize, bool packed)
    {
        if (state.Num > 0 && state.Num <= (uint)maxSize && (packed || BitOperations.IsPow2(state.Num)))
            return default;
        string kind = packed ? "1" : "a power of two from 1";
        return new(
            VhostUserViolation.BadQueueSize,
            string.Create(
                _culture,
                $"VHOST_USER_SET_VRING_NUM: size {state.Num} of ring {state.Index}; a {(packed ? "packed" : "split")} ring takes {kind} to {maxSize}."));
    }

    /// <summary>SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR: the ring exists, reserved bits are 0, and bit 8 agrees with what came.</summary>
    /// <param name="request">The message.</param>
    /// <param name="word">Its payload.</param>
    /// <param name="descriptorCount">Descriptors that came with it.</param>
    /// <param name="queueCount">Rings the device has.</param>
    public static MessageCheck CheckVringDescriptor(VhostUserRequest request, VhostUserVringDescriptor word, int descriptorCount, int queueCount)
    {
        string name = MessageContracts.NameOf(request);
        if (word.HasReservedBits)
        {
            return new(
                VhostUserViolation.BadValue,
                string.Create(_culture, $"{name}: 0x{word.Raw:x} sets bits above 8; only the ring (bits 0 to 7) and bit 8 are defined."));
        }

        MessageCheck check = CheckQueueIndex(request, word.Index, queueCount);
        if (!check.IsValid || descriptorCount == (word.NoDescriptor ? 0 : 1))
            return check;
        return new(
            VhostUserViolation.WrongDescriptorCount,
            string.Create(
                _culture,
                $"{name}: {descriptorCount} descriptors came for ring {word.Index} with bit 8 {(word.NoDescriptor ? "set; none is" : "clear; exactly 1 is")} allowed."));
    }

    /// <summary>GET_CONFIG and SET_CONFIG: the window is as long as the payload says, at most 256 bytes, and lies in the device's configuration space.</summary>
    /// <param name="request">The message.</param>
    /// <param name="payload">Its payload.</param>
    /// <param name="configLength">Bytes of configuration space the device has.</param>
    public static MessageCheck CheckConfig(VhostUserRequest request, ReadOnlySpan<byte> payload, int configLength)
    {
        string name = MessageContracts.NameOf(request);
        if (!VhostUserConfig.TryRead(payload, out VhostUserConfig config, out _))
        {
            return new(
                VhostUserViolation.BadConfigRange,
                string.Create(
                    _culture,
                    $"{name}: size {config.Size} in a payload of {payload.Length} bytes; the payload must be 12 + size, and size at most {VhostUserConfig.MaxWindow}."));
        }

        return config.Size != 0 && (ulong)config.Offset + config.Size <= (ulong)configLength
            ? default
            : new(
                VhostUserViolation.BadConfigRange,
                string.Create(_culture, $"{name}: offset {config.Offset}, size {config.Size}; configuration space has {configLength} bytes."));
    }

    /// <summary>SET_MEM_TABLE: the count fits the payload and the descriptors that came, at most eight.</summary>
    /// <param name="payload">The payload.</param>
    /// <param name="descriptorCount">Descriptors that came with it.</param>
    /// <param name="xen">VHOST_USER_PROTOCOL_F_XEN_MMAP is negotiated.</param>
    public static MessageCheck CheckMemoryTable(ReadOnlySpan<byte> payload, int descriptorCount, bool xen = false)
    {
        const string Name = "VHOST_USER_SET_MEM_TABLE";
        if (!VhostUserMemoryTable.TryReadCount(payload, out uint count))
            return new(VhostUserViolation.PayloadTooShort, string.Create(_culture, $"{Name}: payload of {payload.Length} bytes; at least 8 are needed."));
        if (count > VhostUserMemoryTable.MaxRegions)
        {
            return new(
                VhostUserViolation.TooManyMemoryRegions,
                string.Create(_culture, $"{Name}: {count} regions; 0 to {VhostUserMemoryTable.MaxRegions} are allowed."));
        }

        int needed = VhostUserMemoryTable.EncodedSizeOf((int)count, xen);
        if (payload.Length != needed)
        {
            return new(
                VhostUserViolation.PayloadSizeMismatch,
                string.Create(_culture, $"{Name}: payload of {payload.Length} bytes for {count} regions; {needed} are needed."));
        }

        return descriptorCount == (int)count
            ? default
            : new(
                VhostUserViolation.WrongDescriptorCount,
                string.Create(_culture, $"{Name}: {descriptorCount} descriptors for {count} regions; one a region is needed."));
    }

    /// <summary>A region on its own: not empty, and neither its addresses nor its place in the descriptor wrap around 2^64.</summary>
    public static MessageCheck CheckRegion(in VhostUserMemoryRegion region)
    {
        string? wrong = region.Size == 0 ? "is empty"
            : Wraps(region.GuestAddress.Value, region.Size) ? "wraps in the guest's address space"
            : Wraps(region.UserAddress.Value, region.Size) ? "wraps in the front-end's address space"
            : Wraps(region.MmapOffset, region.Size) ? "wraps in its descriptor"
            : null;
        return wrong is null
            ? default
            : new(
                VhostUserViolation.MemoryRegionInvalid,
                string.Create(
                    _culture,
                    $"Memory region at guest {region.GuestAddress}, size 0x{region.Size:x}, user {region.UserAddress}, offset 0x{region.MmapOffset:x} {wrong}."));
    }

    /// <summary>The reply to GET_INFLIGHT_FD: an area comes with its descriptor, "not supported" (size 0) with none, and the area does not wrap.</summary>
    /// <param name="area">The reply.</param>
    /// <param name="descriptorCount">Descriptors that came with it.</param>
    public static MessageCheck CheckInflightReply(in VhostUserInflight area, int descriptorCount)
    {
        const string Name = "VHOST_USER_GET_INFLIGHT_FD";
        int needed = area.MmapSize == 0 ? 0 : 1;
        if (descriptorCount != needed)
        {
            return new(
                VhostUserViolation.WrongDescriptorCount,
                string.Create(_culture, $"{Name}: {descriptorCount} descriptors came with an area of {area.MmapSize} bytes; {needed} allowed."));
        }

        return area.MmapSize != 0 && Wraps(area.MmapOffset, area.MmapSize)
            ? new(
                VhostUserViolation.BadValue,
                string.Create(_culture, $"{Name}: an area of {area.MmapSize} bytes at offset {area.MmapOffset} wraps in its descriptor."))
            : default;
    }

    /// <summary>The reply to SET_DEVICE_STATE_FD: bit 8 agrees with what came, unless the reply is an error.</summary>
    /// <param name="reply">The reply.</param>
    /// <param name="descriptorCount">Descriptors that came with it.</param>
    public static MessageCheck CheckDeviceStateReply(VhostUserDeviceStateReply reply, int descriptorCount)
    {
        int needed = reply.NoDescriptor ? 0 : 1;
        return reply.Error != 0 || descriptorCount == needed
            ? default
            : new(
                VhostUserViolation.WrongDescriptorCount,
                string.Create(
                    _culture,
                    $"VHOST_USER_SET_DEVICE_STATE_FD: {descriptorCount} descriptors came with the reply 0x{reply.Raw:x}; {needed} allowed."));
    }

    // A range may end exactly at 2^64.
    private static bool Wraps(ulong start, ulong size) => size - 1 > ulong.MaxValue - start;
}
