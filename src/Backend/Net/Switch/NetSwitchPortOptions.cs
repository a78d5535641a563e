namespace Vhost.Backend;

/// <summary>One port of a <see cref="NetSwitch"/>.</summary>
public sealed record NetSwitchPortOptions
{
    /// <summary>Its name in statistics. Null, the default: its number.</summary>
    public string? Name { get; init; }

    /// <summary>
    /// A file to write all packets from and to the port into, for Wireshark and tcpdump (pcapng, with nanoseconds and directions); what was in it is replaced. Null, the default: none. Nobody waits for the
    /// file: packets for which it is too slow are left out of it, and counted there and in <see cref="NetSwitchPortStatistics.NotCaptured"/>. A named pipe is opened whether somebody reads it or not. In the file is
    /// what came from the guest, whatever becomes of it then, and what the guest was given; not what was dropped before.
    /// </summary>
    public string? CaptureFile { get; init; }

    /// <summary>
    /// The shape of the network device that the port is to its guest. <see cref="NetDeviceOptions.Offloads"/> may have bits of <see cref="NetSwitch.Offloads"/> only: what one guest
    /// leaves to do and another one does not take, the switch does, and it does no more than these.
    /// </summary>
    public NetDeviceOptions Device { get; init; } = new() { Offloads = NetSwitch.Offloads, DetailedStatistics = true };
}
