using System.Reflection;
using System.Text.RegularExpressions;
using Vhost.Backend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>docs/dpdk-map.md answers every row, and what it names exists.</summary>
public sealed partial class DpdkMapTests
{
    private static readonly string[] _lines = File.ReadAllLines(RepositoryRoot.File("docs/dpdk-map.md"));

    /// <summary>What a user of DPDK's library may look for.</summary>
    public static TheoryData<string> Functions =>
    [
        .. """
        RTE_VHOST_USER_CLIENT RTE_VHOST_USER_NO_RECONNECT RTE_VHOST_USER_ASYNC_CONNECT RTE_VHOST_USER_IOMMU_SUPPORT RTE_VHOST_USER_POSTCOPY_SUPPORT RTE_VHOST_USER_EXTBUF_SUPPORT
        RTE_VHOST_USER_LINEARBUF_SUPPORT RTE_VHOST_USER_ASYNC_COPY RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS RTE_VHOST_USER_NET_STATS_ENABLE RTE_VHOST_USER_DEQUEUE_ZERO_COPY
        new_device destroy_device vring_state_changed features_changed new_connection destroy_connection guest_notified guest_notify pre_msg_handle post_msg_handle
        rte_vhost_driver_register rte_vhost_driver_unregister rte_vhost_driver_start rte_vhost_driver_callback_register rte_vhost_driver_set_features rte_vhost_driver_enable_features
        rte_vhost_driver_disable_features rte_vhost_driver_get_features rte_vhost_driver_set_protocol_features rte_vhost_driver_get_protocol_features rte_vhost_driver_get_queue_num
        rte_vhost_driver_set_max_queue_num rte_vhost_driver_attach_vdpa_device rte_vhost_driver_detach_vdpa_device rte_vhost_driver_get_vdpa_device rte_vhost_driver_get_vdpa_dev_type
        rte_vhost_get_negotiated_features rte_vhost_get_negotiated_protocol_features rte_vhost_get_mtu rte_vhost_get_numa_node rte_vhost_get_vring_num rte_vhost_get_ifname
        rte_vhost_get_mem_table rte_vhost_get_vhost_vring rte_vhost_get_vhost_ring_inflight rte_vhost_get_log_base rte_vhost_get_vring_base rte_vhost_set_vring_base
        rte_vhost_get_vring_base_from_inflight rte_vhost_extern_callback_register rte_vhost_get_vdpa_device rte_vhost_backend_config_change rte_vhost_va_from_guest_pa rte_vhost_log_write
        rte_vhost_log_used_vring RTE_VHOST_NEED_LOG rte_vhost_enable_guest_notification rte_vhost_vring_call rte_vhost_vring_call_nonblock rte_vhost_notify_guest rte_vhost_enqueue_burst
        rte_vhost_dequeue_burst rte_vhost_avail_entries rte_vhost_rx_queue_count rte_vhost_get_monitor_addr rte_vhost_set_inflight_desc_split rte_vhost_set_inflight_desc_packed
        rte_vhost_set_last_inflight_io_split rte_vhost_set_last_inflight_io_packed rte_vhost_clr_inflight_desc_split rte_vhost_clr_inflight_desc_packed rte_vhost_vring_stats_get_names
        rte_vhost_vring_stats_get rte_vhost_vring_stats_reset good_packets guest_notifications iotlb_hits inflight_submitted mbuf_alloc_failed rte_vhost_async_channel_register
        rte_vhost_async_channel_unregister rte_vhost_submit_enqueue_burst rte_vhost_poll_enqueue_completed rte_vhost_async_get_inflight rte_vhost_clear_queue rte_vhost_async_dma_configure
        rte_vhost_async_dma_unconfigure rte_vhost_async_try_dequeue_burst rte_vhost_crypto_driver_start rte_vhost_crypto_create rte_vhost_crypto_free rte_vhost_crypto_set_zero_copy
        rte_vhost_crypto_fetch_requests rte_vhost_crypto_finalize_requests rte_vdpa_find_device_by_name rte_vdpa_get_rte_device rte_vdpa_get_queue_num rte_vdpa_get_features
        rte_vdpa_get_protocol_features rte_vdpa_get_stats_names rte_vdpa_get_stats rte_vdpa_reset_stats rte_vdpa_register_device rte_vdpa_unregister_device rte_vdpa_dev_ops
        rte_vhost_host_notifier_ctrl rte_vdpa_relay_vring_used VDUSE rte_vhost_driver_session_start CUSE async_inorder async_threshold
        rte_vhost_get_queue_num rte_vhost_feature_enable rte_vhost_feature_disable rte_vhost_feature_get rte_vhost_gpa_to_vva rte_vhost_slave_config_change rte_vhost_driver_get_vdpa_device_id
        rte_vhost_get_vdpa_device_id rte_vdpa_find_device_id rte_vdpa_get_device rte_vdpa_get_device_num rte_vdpa_relay_vring_avail RTE_MAX_VHOST_DEVICE
        """.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries),
    ];

    private static IEnumerable<string[]> Rows => _lines.Where(line => line.StartsWith("| ", StringComparison.Ordinal) && !line.StartsWith("| DPDK |", StringComparison.Ordinal))
        .Select(line => line.Trim('|', ' ').Split(" | "));

    [Theory]
    [MemberData(nameof(Functions))]
    public void Everything_that_the_library_offers_has_a_row(string name) =>
        Rows.Should().Contain(row => Regex.IsMatch(row[0], $@"(?<![A-Za-z_]){name}(?![A-Za-z_])", RegexOptions.None, TimeSpan.FromSeconds(1)));

    [Fact]
    public void No_row_is_without_an_answer() =>
        Rows.Should().NotBeEmpty().And.OnlyContain(row => row.Length == 2 && row[1].Trim().Length > 3);

    /// <summary>A name with a dot is a member of a type; one without is a type, a member of any, or DPDK's.</summary>
    [Fact]
    public void What_is_named_as_ours_exists()
    {
        Type[] types = [.. new[] { typeof(VhostUserBackend).Assembly, typeof(PacketBuffer).Assembly }.SelectMany(assembly => assembly.GetExportedTypes())];
        HashSet<string> known = new(types.Select(type => type.Name).Concat(types.SelectMany(Members)), StringComparer.Ordinal);
        List<string> missing = [];
        foreach (string answer in Rows.Select(row => row[1]))
        {
            foreach (string name in Code().Matches(answer).Select(match => match.Groups["name"].Value).Where(name => char.IsAsciiLetterUpper(name[0]) && !name.All(char.IsAsciiLetterUpper)))
            {
                string[] parts = name.Split('.');
                bool exists = parts.Length == 1
                    ? known.Contains(name) || name.Contains('_', StringComparison.Ordinal)
                    : Array.Exists(types, type => type.Name == parts[0] && Members(type).Contains(parts[1], StringComparer.Ordinal)) || parts[0] is "Task" or "Vhost";
                if (!exists)
                    missing.Add(name);
            }
        }

        missing.Should().BeEmpty();
    }

    private static IEnumerable<string> Members(Type type) => type.GetMembers(BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static).Select(member => member.Name);

    [GeneratedRegex("`(?<name>[A-Za-z_.]+)[^`]*`", RegexOptions.None, 1000)]
    private static partial Regex Code();
}
