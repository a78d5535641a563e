using System.Diagnostics.Metrics;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What network cards and disks count beyond their queues, read when somebody asks.</summary>
internal static class DeviceMetrics
{
    internal static void AddTo(Meter meter)
    {
        meter.CreateObservableCounter("vhost.net.packets", () => Ports(static of => of.Packets), "{packet}", "Packets that passed a port.");
        meter.CreateObservableCounter("vhost.net.bytes", () => Ports(static of => of.Bytes), "By", "Bytes of these packets.");
        meter.CreateObservableCounter("vhost.net.dropped", Dropped, "{packet}", "Packets that were dropped at a port, by reason.");
        meter.CreateObservableCounter("vhost.block.requests", Served, "{request}", "Requests given back by a disk, whatever came of them.");
        meter.CreateObservableCounter("vhost.block.errors", Errors, "{request}", "Of these, the ones without success, by result.");
    }

    private static IEnumerable<Measurement<long>> Ports(Func<NetQueueStatistics, long> select)
    {
        foreach ((NetPort port, KeyValuePair<string, object?> backend) in AllPorts())
        {
            yield return new Measurement<long>(select(port.FromGuest), backend, Tag("port", port.Index), Tag("direction", "from_guest"));
            yield return new Measurement<long>(select(port.ToGuest), backend, Tag("port", port.Index), Tag("direction", "to_guest"));
        }
    }

    private static IEnumerable<Measurement<long>> Dropped()
    {
        foreach ((NetPort port, KeyValuePair<string, object?> backend) in AllPorts())
        {
            NetQueueStatistics from = port.FromGuest;
            yield return new Measurement<long>(from.Errors, backend, Tag("port", port.Index), Tag("direction", "from_guest"), Tag("reason", "error"));
            yield return new Measurement<long>(from.NoBuffers, backend, Tag("port", port.Index), Tag("direction", "from_guest"), Tag("reason", "no_buffers"));
            yield return new Measurement<long>(port.ToGuest.Refused, backend, Tag("port", port.Index), Tag("direction", "to_guest"), Tag("reason", "refused"));
        }
    }

    private static IEnumerable<(NetPort Port, KeyValuePair<string, object?> Backend)> AllPorts()
    {
        foreach ((NetDevice device, KeyValuePair<string, object?> backend) in BackendMetrics.Of<NetDevice>())
        {
            foreach (NetPort port in device.Ports)
                yield return (port, backend);
        }
    }

    private static IEnumerable<Measurement<long>> Served()
    {
        foreach ((BlockDevice device, KeyValuePair<string, object?> backend) in BackendMetrics.Of<BlockDevice>())
            yield return new Measurement<long>(device.Statistics.Served, backend);
    }

    private static IEnumerable<Measurement<long>> Errors()
    {
        foreach ((BlockDevice device, KeyValuePair<string, object?> backend) in BackendMetrics.Of<BlockDevice>())
        {
            BlockDeviceStatistics counted = device.Statistics;
            yield return new Measurement<long>(counted.Failed, backend, Tag("result", "failed"));
            yield return new Measurement<long>(counted.Dropped, backend, Tag("result", "dropped"));
        }
    }

    private static KeyValuePair<string, object?> Tag(string name, object value) => new(name, value);
}
