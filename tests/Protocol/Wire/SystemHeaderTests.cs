using System.Globalization;
using System.Text;

namespace Vhost.Protocol.Tests;

/// <summary>Holds sizes, offsets and constants against the headers of the system, as a C compiler sees them.</summary>
public sealed class SystemHeaderTests
{
    [SkippableFact]
    public void Sizes_offsets_and_constants_are_those_of_the_system_headers()
    {
        Skip.If(CProgram.Compiler is null, "no C compiler (cc, gcc or clang)");
        CProgram.Complaints(Source()).Should().BeEmpty();
    }

    [SkippableFact]
    public void The_compiler_would_notice_a_wrong_number()
    {
        Skip.If(CProgram.Compiler is null, "no C compiler (cc, gcc or clang)");
        CProgram.Complaints(Source() + "_Static_assert(sizeof(int) == 5, \"canary\");\n").Should().Contain("canary");
    }

    private static string Source()
    {
        StringBuilder text = new("#include <stddef.h>\n#include <errno.h>\n");
        Header(text, "linux/vhost.h", Vhost);
        Header(text, "linux/virtio_config.h", VirtioConfig);
        Header(text, "linux/virtio_ring.h", VirtioRing);
        Header(text, "linux/virtio_blk.h", VirtioBlk);
        Header(text, "linux/virtio_console.h", VirtioConsole);
        Header(text, "linux/virtio_gpu.h", VirtioGpu);
        Header(text, "linux/virtio_crypto.h", VirtioCrypto);
        Header(text, "linux/if_tun.h", Tun);
        Errno(text);
        return text.ToString();
    }

    private static void Tun(StringBuilder text)
    {
        text.Append("#include <sys/ioctl.h>\n#include <linux/if.h>\n");
        Size(text, "struct ifreq", Libc.InterfaceRequestBytes, ("ifr_name", 0), ("ifr_flags", Libc.MaxInterfaceName + 1));
        Constant(text, "TUNSETIFF", Libc.TUNSETIFF);
        Constant(text, "TUNSETOFFLOAD", Libc.TUNSETOFFLOAD);
        Constant(text, "TUNSETVNETHDRSZ", Libc.TUNSETVNETHDRSZ);
        Constant(text, "TUNSETVNETLE", Libc.TUNSETVNETLE);
        Constant(text, "IFF_TAP", (ulong)Libc.IFF_TAP);
        Constant(text, "IFF_NO_PI", (ulong)Libc.IFF_NO_PI);
        Constant(text, "IFF_VNET_HDR", (ulong)Libc.IFF_VNET_HDR);
        Constant(text, "TUN_F_CSUM", Libc.TUN_F_CSUM);
        Constant(text, "TUN_F_TSO4", Libc.TUN_F_TSO4);
        Constant(text, "TUN_F_TSO6", Libc.TUN_F_TSO6);
        Constant(text, "TUN_F_TSO_ECN", Libc.TUN_F_TSO_ECN);
    }

    private static void VirtioConsole(StringBuilder text)
    {
        Size(text, "struct virtio_console_config", VirtioConsoleConfig.Size, ("cols", 0), ("rows", 2), ("max_nr_ports", 4), ("emerg_wr", VirtioConsoleConfig.EmergencyWriteOffset));
        Size(text, "struct virtio_console_control", VirtioConsoleControl.Size, ("id", 0), ("event", 4), ("value", 6));
        Constant(text, "1 << VIRTIO_CONSOLE_F_SIZE", (ulong)VirtioConsoleFeatures.Size);
        Constant(text, "1 << VIRTIO_CONSOLE_F_MULTIPORT", (ulong)VirtioConsoleFeatures.MultiPort);
        Constant(text, "1 << VIRTIO_CONSOLE_F_EMERG_WRITE", (ulong)VirtioConsoleFeatures.EmergencyWrite);
        Constant(text, "VIRTIO_CONSOLE_DEVICE_READY", (ulong)VirtioConsoleEvent.DeviceReady);
        Constant(text, "VIRTIO_CONSOLE_PORT_ADD", (ulong)VirtioConsoleEvent.DeviceAdd);
        Constant(text, "VIRTIO_CONSOLE_PORT_REMOVE", (ulong)VirtioConsoleEvent.DeviceRemove);
        Constant(text, "VIRTIO_CONSOLE_PORT_READY", (ulong)VirtioConsoleEvent.PortReady);
        Constant(text, "VIRTIO_CONSOLE_CONSOLE_PORT", (ulong)VirtioConsoleEvent.ConsolePort);
        Constant(text, "VIRTIO_CONSOLE_RESIZE", (ulong)VirtioConsoleEvent.Resize);
        Constant(text, "VIRTIO_CONSOLE_PORT_OPEN", (ulong)VirtioConsoleEvent.PortOpen);
        Constant(text, "VIRTIO_CONSOLE_PORT_NAME", (ulong)VirtioConsoleEvent.PortName);
    }

    private static void Header(StringBuilder text, string name, Action<StringBuilder> assertions)
    {
        text.Append(CultureInfo.InvariantCulture, $"#if __has_include(<{name}>)\n#include <{name}>\n");
        assertions(text);
        text.Append("#endif\n");
    }

    private static void Vhost(StringBuilder text)
    {
        Size(text, "struct vhost_vring_state", VhostUserVringState.Size, ("index", 0), ("num", 4));
        Size(
            text,
            "struct vhost_vring_addr",
            VhostUserVringAddress.Size,
            ("index", 0), ("flags", 4), ("desc_user_addr", 8), ("used_user_addr", 16), ("avail_user_addr", 24), ("log_guest_addr", 32));
        // The last word is padding for the kernel and the descriptor's offset for vhost-user.
        Size(
            text,
            "struct vhost_memory_region",
            VhostUserMemoryRegion.WireSize,
            ("guest_phys_addr", 0), ("memory_size", 8), ("userspace_addr", 16), ("flags_padding", 24));
        Size(
            text,
            "struct vhost_memory",
            VhostUserMemoryTable.HeaderSize,
            ("nregions", 0), ("padding", 4), ("regions", 8));
        Size(text, "struct vhost_iotlb_msg", VhostUserIotlb.WireSize, ("iova", 0), ("size", 8), ("uaddr", 16), ("perm", 24), ("type", 25));
        Constant(text, "1 << VHOST_VRING_F_LOG", VhostUserVringAddress.LogUsedRing);
        Constant(text, "VHOST_ACCESS_RO", (ulong)VhostUserIotlbPermission.ReadOnly);
        Constant(text, "VHOST_ACCESS_WO", (ulong)VhostUserIotlbPermission.WriteOnly);
        Constant(text, "VHOST_ACCESS_RW", (ulong)VhostUserIotlbPermission.ReadWrite);
        Constant(text, "VHOST_IOTLB_MISS", (ulong)VhostUserIotlbType.Miss);
        Constant(text, "VHOST_IOTLB_UPDATE", (ulong)VhostUserIotlbType.Update);
        Constant(text, "VHOST_IOTLB_INVALIDATE", (ulong)VhostUserIotlbType.Invalidate);
        Constant(text, "VHOST_IOTLB_ACCESS_FAIL", (ulong)VhostUserIotlbType.AccessFail);
        Bit(text, "VHOST_F_LOG_ALL", VirtioFeatures.LogAll);
    }

    private static void VirtioConfig(StringBuilder text)
    {
        Bit(text, "VIRTIO_F_NOTIFY_ON_EMPTY", VirtioFeatures.NotifyOnEmpty);
        Bit(text, "VIRTIO_F_ANY_LAYOUT", VirtioFeatures.AnyLayout);
        Bit(text, "VIRTIO_F_VERSION_1", VirtioFeatures.Version1);
        Bit(text, "VIRTIO_F_ACCESS_PLATFORM", VirtioFeatures.AccessPlatform);
        Bit(text, "VIRTIO_F_RING_PACKED", VirtioFeatures.RingPacked);
        Bit(text, "VIRTIO_F_IN_ORDER", VirtioFeatures.InOrder);
        Bit(text, "VIRTIO_F_ORDER_PLATFORM", VirtioFeatures.OrderPlatform);
        Bit(text, "VIRTIO_F_SR_IOV", VirtioFeatures.SrIov);
        Bit(text, "VIRTIO_F_NOTIFICATION_DATA", VirtioFeatures.NotificationData);
        Bit(text, "VIRTIO_F_NOTIF_CONFIG_DATA", VirtioFeatures.NotificationConfigData);
        Bit(text, "VIRTIO_F_RING_RESET", VirtioFeatures.RingReset);
        Bit(text, "VIRTIO_F_ADMIN_VQ", VirtioFeatures.AdminVirtqueue);
    }

    private static void VirtioRing(StringBuilder text)
    {
        Bit(text, "VIRTIO_RING_F_INDIRECT_DESC", VirtioFeatures.IndirectDescriptors);
        Bit(text, "VIRTIO_RING_F_EVENT_IDX", VirtioFeatures.EventIndex);
    }

    private static void VirtioBlk(StringBuilder text)
    {
        Size(text, "struct virtio_blk_outhdr", VirtioBlkRequestHeader.Size, ("type", 0), ("ioprio", 4), ("sector", 8));
        Size(text, "struct virtio_blk_discard_write_zeroes", VirtioBlkRange.Size, ("sector", 0), ("num_sectors", 8), ("flags", 12));
        Constant(text, "VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP", (ulong)VirtioBlkRangeFlags.Unmap);
        Constant(text, "VIRTIO_BLK_ID_BYTES", VirtioBlkRequestHeader.IdSize);
        Offsets(
            text,
            "struct virtio_blk_config",
            ("capacity", 0), ("size_max", 8), ("seg_max", 12), ("geometry", 16), ("blk_size", 20), ("physical_block_exp", 24), ("alignment_offset", 25),
            ("min_io_size", 26), ("opt_io_size", 28), ("wce", VirtioBlkConfig.WriteBackOffset), ("num_queues", 34), ("max_discard_sectors", 36),
            ("max_discard_seg", 40), ("discard_sector_alignment", 44), ("max_write_zeroes_sectors", 48), ("max_write_zeroes_seg", 52),
            ("write_zeroes_may_unmap", 56));
        text.Append("#ifdef VIRTIO_BLK_F_SECURE_ERASE\n");
        Offsets(
            text,
            "struct virtio_blk_config",
            ("max_secure_erase_sectors", VirtioBlkConfig.ClassicSize), ("max_secure_erase_seg", 64), ("secure_erase_sector_alignment", 68));
        text.Append("#endif\n#ifdef VIRTIO_BLK_F_ZONED\n");
        Size(
            text,
            "struct virtio_blk_config",
            VirtioBlkConfig.Size,
            ("zoned.zone_sectors", 72), ("zoned.max_open_zones", 76), ("zoned.max_active_zones", 80), ("zoned.max_append_sectors", 84),
            ("zoned.write_granularity", 88), ("zoned.model", 92));
        text.Append("#endif\n");
        BlkFeatures(text);
        BlkRequests(text);
    }

    private static void BlkFeatures(StringBuilder text)
    {
        foreach ((string name, VirtioBlkFeatures feature) in new (string, VirtioBlkFeatures)[]
        {
            ("BARRIER", VirtioBlkFeatures.Barrier), ("SIZE_MAX", VirtioBlkFeatures.SizeMax), ("SEG_MAX", VirtioBlkFeatures.SegMax),
            ("GEOMETRY", VirtioBlkFeatures.Geometry), ("RO", VirtioBlkFeatures.ReadOnly), ("BLK_SIZE", VirtioBlkFeatures.BlockSize),
            ("SCSI", VirtioBlkFeatures.Scsi), ("FLUSH", VirtioBlkFeatures.Flush), ("TOPOLOGY", VirtioBlkFeatures.Topology),
            ("CONFIG_WCE", VirtioBlkFeatures.ConfigWriteCache), ("MQ", VirtioBlkFeatures.MultiQueue), ("DISCARD", VirtioBlkFeatures.Discard),
            ("WRITE_ZEROES", VirtioBlkFeatures.WriteZeroes), ("LIFETIME", VirtioBlkFeatures.Lifetime),
            ("SECURE_ERASE", VirtioBlkFeatures.SecureErase), ("ZONED", VirtioBlkFeatures.Zoned),
        })
        {
            Bit(text, "VIRTIO_BLK_F_" + name, (VirtioFeatures)feature);
        }
    }

    private static void BlkRequests(StringBuilder text)
    {
        foreach ((string name, VirtioBlkRequestType type) in new (string, VirtioBlkRequestType)[]
        {
            ("IN", VirtioBlkRequestType.In), ("OUT", VirtioBlkRequestType.Out), ("SCSI_CMD", VirtioBlkRequestType.ScsiCommand),
            ("FLUSH", VirtioBlkRequestType.Flush), ("GET_ID", VirtioBlkRequestType.GetId), ("GET_LIFETIME", VirtioBlkRequestType.GetLifetime),
            ("DISCARD", VirtioBlkRequestType.Discard), ("WRITE_ZEROES", VirtioBlkRequestType.WriteZeroes),
            ("SECURE_ERASE", VirtioBlkRequestType.SecureErase), ("ZONE_APPEND", VirtioBlkRequestType.ZoneAppend),
            ("ZONE_REPORT", VirtioBlkRequestType.ZoneReport), ("ZONE_OPEN", VirtioBlkRequestType.ZoneOpen),
            ("ZONE_CLOSE", VirtioBlkRequestType.ZoneClose), ("ZONE_FINISH", VirtioBlkRequestType.ZoneFinish),
            ("ZONE_RESET", VirtioBlkRequestType.ZoneReset), ("ZONE_RESET_ALL", VirtioBlkRequestType.ZoneResetAll),
        })
        {
            IfDefined(text, "VIRTIO_BLK_T_" + name, (ulong)type);
        }

        foreach ((string name, VirtioBlkStatus status) in new (string, VirtioBlkStatus)[]
        {
            ("OK", VirtioBlkStatus.Ok), ("IOERR", VirtioBlkStatus.IoError), ("UNSUPP", VirtioBlkStatus.Unsupported),
            ("ZONE_INVALID_CMD", VirtioBlkStatus.ZoneInvalidCommand), ("ZONE_UNALIGNED_WP", VirtioBlkStatus.ZoneUnalignedWritePointer),
            ("ZONE_OPEN_RESOURCE", VirtioBlkStatus.ZoneOpenResource), ("ZONE_ACTIVE_RESOURCE", VirtioBlkStatus.ZoneActiveResource),
        })
        {
            IfDefined(text, "VIRTIO_BLK_S_" + name, (ulong)status);
        }
    }

    private static void VirtioGpu(StringBuilder text)
    {
        Size(text, "struct virtio_gpu_resp_display_info", VhostUserGpuDisplayInfo.Size, ("pmodes", 24));
        Size(text, "struct virtio_gpu_display_one", 24, ("r.x", 0), ("r.y", 4), ("r.width", 8), ("r.height", 12), ("enabled", 16), ("flags", 20));
        Size(text, "struct virtio_gpu_resp_edid", VhostUserGpuEdid.Size, ("size", 24), ("edid", 32));
        Constant(text, "VIRTIO_GPU_RESP_OK_DISPLAY_INFO", VhostUserGpuDisplayInfo.OkType);
        Constant(text, "VIRTIO_GPU_RESP_OK_EDID", VhostUserGpuEdid.OkType);
        Constant(text, "VIRTIO_GPU_MAX_SCANOUTS", VhostUserGpuDisplayInfo.MaxScanouts);
    }

    private static void VirtioCrypto(StringBuilder text)
    {
        text.Append("#ifdef VIRTIO_CRYPTO_SERVICE_AKCIPHER\n");
        Constant(text, "VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION", VhostUserAsymmetricSession.CreateOperation);
        text.Append("#endif\n");
    }

    private static void Errno(StringBuilder text)
    {
        for (int errno = 1; errno < 134; errno++)
        {
            if (ErrnoNames.Of(errno) is not "errno" and var name)
                Constant(text, name, (ulong)errno);
        }
    }

    private static void Size(StringBuilder text, string type, int size, params ReadOnlySpan<(string Field, int Offset)> fields)
    {
        Constant(text, $"sizeof({type})", (ulong)size);
        Offsets(text, type, fields);
    }

    private static void Offsets(StringBuilder text, string type, params ReadOnlySpan<(string Field, int Offset)> fields)
    {
        foreach ((string name, int offset) in fields)
            Constant(text, $"offsetof({type}, {name})", (ulong)offset);
    }

    private static void Bit(StringBuilder text, string macro, VirtioFeatures feature) => IfDefined(text, macro, ulong.Log2((ulong)feature));

    private static void IfDefined(StringBuilder text, string macro, ulong value)
    {
        text.Append(CultureInfo.InvariantCulture, $"#ifdef {macro}\n");
        Constant(text, macro, value);
        text.Append("#endif\n");
    }

    private static void Constant(StringBuilder text, string expression, ulong value) =>
        text.Append(CultureInfo.InvariantCulture, $"_Static_assert(({expression}) == {value}ULL, \"{expression} is {value}\");\n");
}
