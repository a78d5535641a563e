using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;

namespace Vhost.Backend;

/// <summary>Measurements of every switch of the process, for whoever listens to <see cref="VhostUserBackend.MeterName"/>; what is counted anyway, read when it is asked for.</summary>
internal static class SwitchMetrics
{
    private static readonly ConditionalWeakTable<NetSwitch, object?> _switches = [];

    static SwitchMetrics()
    {
        Meter meter = new(VhostUserBackend.MeterName);
        meter.CreateObservableUpDownCounter("vhost.switch.stations", () => OfSwitches(static of => (long)of.Stations), "{address}", "Addresses that are known.");
        Count(meter, "vhost.switch.learned", "{address}", "Addresses that were learned.", static of => of.Learned);
        Count(meter, "vhost.switch.moved", "{address}", "Known addresses that came up at another port.", static of => of.Moved);
        Count(meter, "vhost.switch.forwarded", "{packet}", "Packets to one port.", static of => of.Forwarded);
        Count(meter, "vhost.switch.flooded", "{packet}", "Packets to all ports but their own.", static of => of.Flooded);
        meter.CreateObservableCounter("vhost.switch.dropped", Dropped, "{packet}", "Packets that were dropped at a port, by reason.");
    }

    internal static void Watch(NetSwitch one) => _switches.Add(one, null);

    internal static void Forget(NetSwitch one) => _switches.Remove(one);

    private static void Count(Meter meter, string name, string unit, string what, Func<NetSwitchStatistics, long> select) =>
        meter.CreateObservableCounter(name, () => OfSwitches(select), unit, what);

    private static IEnumerable<Measurement<long>> OfSwitches(Func<NetSwitchStatistics, long> select)
    {
        foreach ((NetSwitch one, _) in _switches)
            yield return new Measurement<long>(select(one.Statistics), Tag("switch", one.Name));
    }

    private static IEnumerable<Measurement<long>> Dropped()
    {
        foreach ((NetSwitch one, _) in _switches)
        {
            foreach (NetSwitchPort port in one.Ports)
            {
                NetSwitchPortStatistics counted = port.Statistics;
                foreach ((string reason, long packets) in Reasons(counted))
                    yield return new Measurement<long>(packets, Tag("switch", one.Name), Tag("port", port.Name), Tag("reason", reason));
            }
        }
    }

    private static (string Reason, long Packets)[] Reasons(NetSwitchPortStatistics of) =>
    [
        ("runt", of.Runts), ("link_local", of.LinkLocal), ("same_port", of.SamePort), ("not_served", of.NotServed),
        ("queue_full", of.QueueFull), ("unwanted", of.Unwanted), ("unsegmentable", of.Unsegmentable),
        ("error", of.FromPort.Errors), ("no_buffers", of.FromPort.NoBuffers), ("refused", of.ToPort.Refused),
    ];

    private static KeyValuePair<string, object?> Tag(string name, string value) => new(name, value);
}
