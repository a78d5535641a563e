using System.Globalization;
using System.Text;
using static System.FormattableString;

namespace Vhost.Protocol;

/// <summary>Payloads in words.</summary>
internal static class PayloadText
{
    private static readonly CultureInfo _culture = CultureInfo.InvariantCulture;

    /// <summary>Appends a payload; false when it does not have the layout (something may have been appended by then).</summary>
    public static bool TryAppend(StringBuilder text, PayloadLayout layout, ReadOnlySpan<byte> payload) => layout switch
    {
        PayloadLayout.U64 => Say<VhostUserU64>(text, payload, number => Invariant($"{number.Value} (0x{number.Value:x})")),
        PayloadLayout.Features => Say<VhostUserU64>(text, payload, word => FeatureNames.Describe((VirtioFeatures)word.Value)),
        PayloadLayout.ProtocolFeatures => Say<VhostUserU64>(text, payload, word => FeatureNames.Describe((VhostUserProtocolFeatures)word.Value)),
        PayloadLayout.VringState => Say<VhostUserVringState>(text, payload, state => Invariant($"ring {state.Index}, num {state.Num}")),
        PayloadLayout.VringAddress => Say<VhostUserVringAddress>(text, payload, OfAddress),
        PayloadLayout.VringDescriptor => Say<VhostUserVringDescriptor>(text, payload, OfRing),
        PayloadLayout.MemoryTable => MemoryTable(text, payload),
        PayloadLayout.SingleRegion => Say<VhostUserSingleRegion>(text, payload, single => OfRegion(single.Region))
            || Say<VhostUserSingleXenRegion>(text, payload, single => OfRegion(single.Region.Region) + OfXen(single.Region)),
        PayloadLayout.Log => Say<VhostUserU64>(text, payload, address => Invariant($"address 0x{address.Value:x}"))
            || Say<VhostUserLog>(text, payload, log => Invariant($"size 0x{log.MmapSize:x} offset 0x{log.MmapOffset:x}")),
        PayloadLayout.Iotlb => Say<VhostUserIotlb>(text, payload, OfIotlb),
        PayloadLayout.Config => Config(text, payload),
        PayloadLayout.VringArea => Say<VhostUserVringArea>(text, payload, area => OfRing(area.Ring) + Invariant($", size 0x{area.Size:x} offset 0x{area.Offset:x}")),
        PayloadLayout.Inflight => Say<VhostUserInflight>(
            text, payload, area => Invariant($"size 0x{area.MmapSize:x} offset 0x{area.MmapOffset:x}, {area.QueueCount} queues of {area.QueueSize}")),
        PayloadLayout.SharedObject => Say<VhostUserSharedObject>(text, payload, shared => $"object {shared.Id}"),
        PayloadLayout.DeviceState => Say<VhostUserDeviceState>(text, payload, OfDeviceState),
        PayloadLayout.DeviceStateReply => Say<VhostUserDeviceStateReply>(
            text, payload, reply => Invariant($"error {reply.Error}{(reply.NoDescriptor ? ", no descriptor" : "")}")),
        PayloadLayout.ShmemConfig => ShmemConfig(text, payload),
        PayloadLayout.ShmemMap => Say<VhostUserShmemMap>(text, payload, OfShmemMap),
        PayloadLayout.CryptoSession => CryptoSession(text, payload),
        _ => GpuPayloadText.TryAppend(text, layout, payload),
    };

    /// <summary>Appends what a payload of fixed layout says; false, and nothing appended, when it does not have the layout.</summary>
    internal static bool Say<T>(StringBuilder text, ReadOnlySpan<byte> payload, Func<T, string> words)
        where T : struct, IVhostUserPayload<T>
    {
        bool read = T.TryRead(payload, out T value);
        if (read)
            text.Append(words(value));
        return read;
    }

    private static string OfAddress(VhostUserVringAddress ring) => Invariant(
        $"ring {ring.Index}, flags 0x{ring.Flags:x}, descriptors {ring.DescriptorTable}, used {ring.UsedRing}, available {ring.AvailableRing}, log 0x{ring.LogGuestAddress:x}");

    private static string OfRing(VhostUserVringDescriptor word) =>
        Invariant($"ring {word.Index}{(word.NoDescriptor ? ", no descriptor" : "")}") + (word.HasReservedBits ? Invariant($", reserved bits in 0x{word.Raw:x}") : "");

    private static string OfRegion(in VhostUserMemoryRegion region) =>
        Invariant($"guest {region.GuestAddress} size 0x{region.Size:x} user {region.UserAddress} offset 0x{region.MmapOffset:x}");

    private static string OfXen(in VhostUserXenRegion region) => Invariant($" xen flags 0x{(uint)region.Flags:x} domain {region.DomainId}");

    private static bool MemoryTable(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool plain = VhostUserMemoryTable.TryRead(payload, out VhostUserMemoryTable table);
        if (!plain && !VhostUserMemoryTable.TryRead(payload, out table, xen: true))
            return false;
        text.Append(_culture, $"{table.Count} region{(table.Count == 1 ? "" : "s")}");
        for (int i = 0; i < table.Count; i++)
            text.Append(i == 0 ? ": " : "; ").Append(OfRegion(table[i])).Append(plain ? "" : OfXen(table.GetXenRegion(i)));
        return true;
    }

    private static string OfIotlb(VhostUserIotlb message) => Invariant(
        $"{IotlbName(message.Type)} iova {message.Address} size 0x{message.Size:x} user {message.UserAddress} permission {(byte)message.Permission}");

    private static string IotlbName(VhostUserIotlbType type) => type switch
    {
        VhostUserIotlbType.Miss => "miss",
        VhostUserIotlbType.Update => "update",
        VhostUserIotlbType.Invalidate => "invalidate",
        VhostUserIotlbType.AccessFail => "access failure",
        _ => Invariant($"type {(byte)type}"),
    };

    private static bool Config(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserConfig.TryRead(payload, out VhostUserConfig config, out ReadOnlySpan<byte> window);
        text.Append(_culture, $"offset {config.Offset}, size {config.Size}, flags {(uint)config.Flags},");
        foreach (byte value in window)
            text.Append(_culture, $" {value:x2}");
        return read;
    }

    private static string OfDeviceState(VhostUserDeviceState state)
    {
        string direction = state.Direction switch
        {
            VhostUserTransferDirection.Save => "save",
            VhostUserTransferDirection.Load => "load",
            _ => Invariant($"direction {(uint)state.Direction}"),
        };
        return Invariant($"{direction}, phase {(uint)state.Phase}");
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

    private static string OfShmemMap(VhostUserShmemMap map) => Invariant(
        $"region {map.RegionId}, file offset 0x{map.FileOffset:x}, region offset 0x{map.RegionOffset:x}, length 0x{map.Length:x}, flags 0x{(ulong)map.Flags:x}");

    // Keys are secrets: only the identifier is shown.
    private static bool CryptoSession(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserCryptoSession.TryReadSessionId(payload, out long session);
        text.Append(_culture, $"session {session}");
        return read;
    }
}
