using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>The shape of a <see cref="NetSwitch"/>.</summary>
public sealed record NetSwitchOptions
{
    /// <summary>Its ports, 1 to 256. They stay as long as the switch; guests come and go.</summary>
    public IReadOnlyList<NetSwitchPortOptions> Ports { get; init; } = [];

    /// <summary>How long an address is known that is silent: 300 s, the standard's default (IEEE 802.1D), from 1 ms; <see cref="Timeout.InfiniteTimeSpan"/>: for ever.</summary>
    public TimeSpan Ageing { get; init; } = TimeSpan.FromSeconds(300);

    /// <summary>
    /// Addresses that are remembered of each port, 1 to 65536. A further one takes the place of the one of the same port that was silent longest, so that a guest that makes
    /// addresses up makes the switch forget its own alone. The memory for all, 40 bytes each, is taken at once.
    /// </summary>
    public int StationsPerPort { get; init; } = 1024;

    /// <summary>
    /// Buffers of 2048 bytes that may wait for each pair of queues of a port, 128 to 65536; a packet takes at least one, the longest 33, and one that is
    /// cut for its guest, which does not do that by itself, as many as it has segments, at most a quarter of all. One of several senders can have no more of them than it leaves free:
    /// alone half, and of any number of senders that send without end each as much as is left for the next. Memory for all of them, less than 2 GiB for the whole switch, is taken at once.
    /// </summary>
    public int QueueBuffers { get; init; } = 1024;

    /// <summary>The name of the switch in the meter <see cref="VhostUserBackend.MeterName"/>.</summary>
    public string Name { get; init; } = "switch";

    /// <summary>The clock of <see cref="Ageing"/>.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Buffers of all pairs of queues together.</summary>
    internal long Buffers => Pairs * (QueueBuffers + SwitchLane.OwnBuffers);

    private long Pairs => Ports.Sum(static port => (long)port.Device.QueuePairs);

    internal void Validate()
    {
        OptionCheck.Require(Ports.Count is >= 1 and <= 256, nameof(Ports), Ports.Count, "1 to 256");
        OptionCheck.Require(StationsPerPort is >= 1 and <= 65536, nameof(StationsPerPort), StationsPerPort, "1 to 65536");
        OptionCheck.Require(QueueBuffers is >= 128 and <= 65536, nameof(QueueBuffers), QueueBuffers, "128 to 65536");
        if (Ageing != Timeout.InfiniteTimeSpan && Ageing < TimeSpan.FromMilliseconds(1))
            throw new ArgumentException($"Ageing {Ageing}: must be 1 ms or more, or infinite.");
        foreach (NetSwitchPortOptions port in Ports)
        {
            if ((port.Device.Offloads & ~NetSwitch.Offloads) != 0)
                throw new ArgumentException($"Offloads {port.Device.Offloads & ~NetSwitch.Offloads}: a switch does not do these for guests that do not.");
        }

        long bytes = PacketPool.SizeInBytes(Buffers);
        if (bytes > Array.MaxLength)
        {
            throw new ArgumentException(FormattableString.Invariant(
                $"Ports with {Pairs} pairs of queues in all and QueueBuffers {QueueBuffers}: their buffers take {bytes >> 20} MiB together; must be less than 2048. Have fewer pairs or buffers."));
        }
    }
}
