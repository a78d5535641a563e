using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>What a driver has set on the control queue and the device has confirmed: the next device is told the same.</summary>
internal sealed class NetControlState
{
    private readonly SortedDictionary<NetReceiveModes, bool> _modes = [];

    internal int? QueuePairs { get; set; }

    internal MacAddress? Mac { get; set; }

    internal NetControlMessage? MacTable { get; set; }

    internal SortedSet<int> Vlans { get; } = [];

    internal void Set(NetReceiveModes mode, bool on) => _modes[mode] = on;

    /// <summary>The commands that bring a fresh device to this state.</summary>
    /// <param name="mac">The address that it must be told where the driver has set none; null: it has the right one.</param>
    internal IEnumerable<NetControlMessage> Commands(MacAddress? mac)
    {
        if (QueuePairs is { } pairs)
            yield return NetControlMessage.QueuePairs(pairs);
        if ((Mac ?? mac) is { } address)
            yield return NetControlMessage.Mac(address);
        if (MacTable is { } table)
            yield return table;
        foreach (int id in Vlans)
            yield return NetControlMessage.Vlan(id, wanted: true);
        foreach ((NetReceiveModes mode, bool on) in _modes)
            yield return NetControlMessage.ReceiveMode(mode, on);
    }
}
