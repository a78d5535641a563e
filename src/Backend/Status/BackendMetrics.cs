using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;

namespace Vhost.Backend;

/// <summary>
/// Measurements of every back-end of the process, for whoever listens to <see cref="VhostUserBackend.MeterName"/>. Nothing is counted for them: they read what is counted anyway, when
/// they are asked.
/// </summary>
internal static class BackendMetrics
{
    private static readonly ConditionalWeakTable<VhostUserBackend, object?> _backends = [];

    static BackendMetrics()
    {
        Meter meter = new(VhostUserBackend.MeterName);
        meter.CreateObservableUpDownCounter("vhost.backend.connections", Connections, "{connection}", "Front-ends that are connected.");
        Count(meter, "vhost.queue.requests", "{request}", "Requests given back to the driver.", static of => of.Completed);
        Count(meter, "vhost.queue.batches", "{batch}", "Groups of requests shown to the driver at once.", static of => of.Batches);
        Count(meter, "vhost.queue.kicks", "{notification}", "Notifications by the driver.", static of => of.Kicks);
        Count(meter, "vhost.queue.calls", "{notification}", "Notifications of the driver.", static of => of.Calls);
        Count(meter, "vhost.queue.calls.suppressed", "{notification}", "Notifications that the driver did not ask for.", static of => of.SuppressedCalls);
        Count(meter, "vhost.queue.recovered", "{request}", "Requests that an earlier back-end had left.", static of => of.Recovered);
        Count(meter, "vhost.queue.faults", "{fault}", "How often the queue broke.", static of => of.Faults);
        meter.CreateObservableUpDownCounter("vhost.queue.in_flight", InFlight, "{request}", "Requests taken and not given back yet.");
        meter.CreateObservableCounter("vhost.iotlb.misses", () => Iotlbs(static of => of.Misses), "{translation}", "Translations of an IOMMU that were asked for.");
        meter.CreateObservableCounter("vhost.iotlb.updates", () => Iotlbs(static of => of.Updates), "{translation}", "Translations that front-ends have told.");
        meter.CreateObservableCounter("vhost.iotlb.invalidations", () => Iotlbs(static of => of.Invalidations), "{range}", "Ranges of which front-ends have withdrawn the translations.");
        meter.CreateObservableUpDownCounter("vhost.iotlb.entries", () => Iotlbs(static of => of.Entries), "{translation}", "Translations that are known.");
        DeviceMetrics.AddTo(meter);
    }

    /// <summary>Back-ends with a device of a kind, each with the tag that names it.</summary>
    internal static IEnumerable<(TDevice Device, KeyValuePair<string, object?> Tag)> Of<TDevice>()
        where TDevice : class
    {
        foreach ((VhostUserBackend backend, _) in _backends)
        {
            if (backend.Device is TDevice device)
                yield return (device, Backend(backend));
        }
    }

    internal static void Watch(VhostUserBackend backend) => _backends.Add(backend, null);

    internal static void Forget(VhostUserBackend backend) => _backends.Remove(backend);

    private static void Count(Meter meter, string name, string unit, string what, Func<QueueStatistics, long> select) =>
        meter.CreateObservableCounter(name, () => Queues(select), unit, what);

    private static IEnumerable<Measurement<long>> Queues(Func<QueueStatistics, long> select)
    {
        foreach ((VhostUserBackend backend, _) in _backends)
        {
            IReadOnlyList<QueueStatistics> queues = backend.GetStatistics();
            for (int queue = 0; queue < queues.Count; queue++)
                yield return new Measurement<long>(select(queues[queue]), Backend(backend), new KeyValuePair<string, object?>("queue", queue));
        }
    }

    private static IEnumerable<Measurement<long>> Iotlbs(Func<IotlbStatistics, long> select)
    {
        foreach ((VhostUserBackend backend, _) in _backends)
            yield return new Measurement<long>(select(backend.GetIotlbStatistics()), Backend(backend));
    }

    private static IEnumerable<Measurement<int>> Connections()
    {
        foreach ((VhostUserBackend backend, _) in _backends)
            yield return new Measurement<int>(backend.IsConnected ? 1 : 0, Backend(backend));
    }

    private static IEnumerable<Measurement<int>> InFlight()
    {
        foreach ((VhostUserBackend backend, _) in _backends)
        {
            foreach (QueueStatus queue in backend.GetStatus()?.Queues ?? [])
                yield return new Measurement<int>(queue.InFlight, Backend(backend), new KeyValuePair<string, object?>("queue", queue.Index));
        }
    }

    private static KeyValuePair<string, object?> Backend(VhostUserBackend backend) => new("backend", backend.Name);
}
