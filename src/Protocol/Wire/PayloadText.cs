using System.Globalization;
using System.Text;

namespace Vhost.Protocol;

/// <summary>Payloads in words.</summary>
internal static class PayloadText
{
    private static readonly CultureInfo _culture = CultureInfo.InvariantCulture;

    /// <summary>Appends a payload; false when it does not have the layout (something may have been appended by then).</summary>
    public static bool TryAppend(StringBuilder text, PayloadLayout layout, ReadOnlySpan<byte> payload) => layout switch
    {
        PayloadLayout.U64 => Number(text, payload),
        PayloadLayout.Features => Features(text, payload),
        PayloadLayout.ProtocolFeatures => ProtocolFeatures(text, payload),
        PayloadLayout.VringState => VringState(text, payload),
        PayloadLayout.VringAddress => VringAddress(text, payload),
        PayloadLayout.VringDescriptor => VringDescriptor(text, payload),
        PayloadLayout.MemoryTable => MemoryTable(text, payload),
        PayloadLayout.SingleRegion => SingleRegion(text, payload),
        PayloadLayout.Log => Log(text, payload),
        PayloadLayout.Iotlb => Iotlb(text, payload),
        PayloadLayout.Config => Config(text, payload),
        PayloadLayout.VringArea => VringArea(text, payload),
        PayloadLayout.Inflight => Inflight(text, payload),
        PayloadLayout.SharedObject => SharedObject(text, payload),
        PayloadLayout.DeviceState => DeviceState(text, payload),
        PayloadLayout.DeviceStateReply => DeviceStateReply(text, payload),
        PayloadLayout.ShmemConfig => ShmemConfig(text, payload),
        PayloadLayout.ShmemMap => ShmemMap(text, payload),
        PayloadLayout.CryptoSession => CryptoSession(text, payload),
        _ => GpuPayloadText.TryAppend(text, layout, payload),
    };

    private static bool Number(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserU64.TryRead(payload, out VhostUserU64 number);
        text.Append(_culture, $"{number.Value} (0x{number.Value:x})");
        return read;
    }

    private static bool Features(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserU64.TryRead(payload, out VhostUserU64 number);
        text.Append(FeatureNames.Describe((VirtioFeatures)number.Value));
        return read;
    }

    private static bool ProtocolFeatures(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserU64.TryRead(payload, out VhostUserU64 number);
        text.Append(FeatureNames.Describe((VhostUserProtocolFeatures)number.Value));
        return read;
    }

    private static bool VringState(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserVringState.TryRead(payload, out VhostUserVringState state);
        text.Append(_culture, $"ring {state.Index}, num {state.Num}");
        return read;
    }

    private static bool VringAddress(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserVringAddress.TryRead(payload, out VhostUserVringAddress ring);
        text.Append(_culture, $"ring {ring.Index}, flags 0x{ring.Flags:x}, descriptors {ring.DescriptorTable}, used {ring.UsedRing}, ");
        text.Append(_culture, $"available {ring.AvailableRing}, log 0x{ring.LogGuestAddress:x}");
        return read;
    }

    private static bool VringDescriptor(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserVringDescriptor.TryRead(payload, out VhostUserVringDescriptor word);
        AppendRing(text, word);
        return read;
    }

    private static void AppendRing(StringBuilder text, VhostUserVringDescriptor word)
    {
        text.Append(_culture, $"ring {word.Index}");
        if (word.NoDescriptor)
            text.Append(", no descriptor");
        if (word.HasReservedBits)
            text.Append(_culture, $", reserved bits in 0x{word.Raw:x}");
    }

    private static bool MemoryTable(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool plain = VhostUserMemoryTable.TryRead(payload, out VhostUserMemoryTable table);
        if (!plain && !VhostUserMemoryTable.TryRead(payload, out table, xen: true))
            return false;
        text.Append(_culture, $"{table.Count} region{(table.Count == 1 ? "" : "s")}");
        for (int i = 0; i < table.Count; i++)
        {
            text.Append(i == 0 ? ": " : "; ");
            AppendRegion(text, table[i]);
            if (!plain)
                AppendXen(text, table.GetXenRegion(i));
        }

        return true;
    }

    private static bool SingleRegion(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        if (VhostUserSingleRegion.TryRead(payload, out VhostUserSingleRegion single))
        {
            AppendRegion(text, single.Region);
            return true;
        }

        if (!VhostUserSingleXenRegion.TryRead(payload, out VhostUserSingleXenRegion xen))
            return false;
        AppendRegion(text, xen.Region.Region);
        AppendXen(text, xen.Region);
        return true;
    }

    private static void AppendRegion(StringBuilder text, in VhostUserMemoryRegion region) =>
        text.Append(_culture, $"guest {region.GuestAddress} size 0x{region.Size:x} user {region.UserAddress} offset 0x{region.MmapOffset:x}");

    private static void AppendXen(StringBuilder text, in VhostUserXenRegion region) =>
        text.Append(_culture, $" xen flags 0x{(uint)region.Flags:x} domain {region.DomainId}");

    private static bool Log(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        if (VhostUserU64.TryRead(payload, out VhostUserU64 address))
        {
            text.Append(_culture, $"address 0x{address.Value:x}");
            return true;
        }

        bool read = VhostUserLog.TryRead(payload, out VhostUserLog log);
        text.Append(_culture, $"size 0x{log.MmapSize:x} offset 0x{log.MmapOffset:x}");
        return read;
    }

    private static bool Iotlb(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserIotlb.TryRead(payload, out VhostUserIotlb message);
        text.Append(IotlbName(message.Type));
        text.Append(_culture, $" iova {message.Address} size 0x{message.Size:x} user {message.UserAddress} permission {(byte)message.Permission}");
        return read;
    }

    private static string IotlbName(VhostUserIotlbType type) => type switch
    {
        VhostUserIotlbType.Miss => "miss",
        VhostUserIotlbType.Update => "update",
        VhostUserIotlbType.Invalidate => "invalidate",
        VhostUserIotlbType.AccessFail => "access failure",
        _ => string.Create(_culture, $"type {(byte)type}"),
    };

    private static bool Config(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserConfig.TryRead(payload, out VhostUserConfig config, out ReadOnlySpan<byte> window);
        text.Append(_culture, $"offset {config.Offset}, size {config.Size}, flags {(uint)config.Flags},");
        foreach (byte value in window)
            text.Append(_culture, $" {value:x2}");
        return read;
    }

    private static bool VringArea(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserVringArea.TryRead(payload, out VhostUserVringArea area);
        AppendRing(text, area.Ring);
        text.Append(_culture, $", size 0x{area.Size:x} offset 0x{area.Offset:x}");
        return read;
    }

    private static bool Inflight(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserInflight.TryRead(payload, out VhostUserInflight area);
        text.Append(_culture, $"size 0x{area.MmapSize:x} offset 0x{area.MmapOffset:x}, {area.QueueCount} queues of {area.QueueSize}");
        return read;
    }

    private static bool SharedObject(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserSharedObject.TryRead(payload, out VhostUserSharedObject shared);
        text.Append(_culture, $"object {shared.Id}");
        return read;
    }

    private static bool DeviceState(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserDeviceState.TryRead(payload, out VhostUserDeviceState state);
        string direction = state.Direction switch
        {
            VhostUserTransferDirection.Save => "save",
            VhostUserTransferDirection.Load => "load",
            _ => string.Create(_culture, $"direction {(uint)state.Direction}"),
        };
        text.Append(_culture, $"{direction}, phase {(uint)state.Phase}");
        return read;
    }

    private static bool DeviceStateReply(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserDeviceStateReply.TryRead(payload, out VhostUserDeviceStateReply reply);
        text.Append(_culture, $"error {reply.Error}{(reply.NoDescriptor ? ", no descriptor" : "")}");
        return read;
    }

    private static bool ShmemConfig(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserShmemConfig.TryRead(payload, out VhostUserShmemConfig config);
        text.Append(_culture, $"{config.Count} regions");
        for (int id = 0; id < VhostUserShmemConfig.MaxRegions; id++)
        {
            if (config[(byte)id] is not 0 and var size)
                text.Append(_culture, $", region {id} size 0x{size:x}");
        }

        return read;
    }

    private static bool ShmemMap(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserShmemMap.TryRead(payload, out VhostUserShmemMap map);
        text.Append(_culture, $"region {map.RegionId}, file offset 0x{map.FileOffset:x}, region offset 0x{map.RegionOffset:x}, ");
        text.Append(_culture, $"length 0x{map.Length:x}, flags 0x{(ulong)map.Flags:x}");
        return read;
    }

    // Keys are secrets: only the identifier is shown.
    private static bool CryptoSession(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserCryptoSession.TryReadSessionId(payload, out long session);
        text.Append(_culture, $"session {session}");
        return read;
    }
}
