using Vhost.Backend;

namespace Vhost.Tool;

/// <summary>What <c>serve switch --json</c> prints when it ends.</summary>
/// <param name="Learned">Addresses that were learned.</param>
/// <param name="Moved">Known addresses that came up at another port.</param>
/// <param name="Replaced">Addresses that were forgotten for newer ones of the same port.</param>
/// <param name="Forwarded">Packets to one port.</param>
/// <param name="Flooded">Packets to all ports but their own.</param>
/// <param name="Ports">The ports, in order.</param>
internal sealed record SwitchReport(long Learned, long Moved, long Replaced, long Forwarded, long Flooded, IReadOnlyList<SwitchPortReport> Ports)
{
    /// <param name="net">The switch.</param>
    /// <param name="taps">Of its last ports that are TAP interfaces.</param>
    internal static SwitchReport Of(NetSwitch net, IReadOnlyList<TapReport> taps)
    {
        NetSwitchStatistics counted = net.Statistics;
        IEnumerable<TapReport?> ofPorts = Enumerable.Repeat<TapReport?>(null, net.Ports.Count - taps.Count).Concat(taps);
        return new SwitchReport(
            counted.Learned,
            counted.Moved,
            counted.Replaced,
            counted.Forwarded,
            counted.Flooded,
            [.. net.Ports.Zip(counted.Ports, ofPorts).Select(port => SwitchPortReport.Of(port.First.Name, port.Second, port.Third))]);
    }

    internal string ToText() => FormattableString.Invariant(
        $"ended after {Forwarded} packets to one port and {Flooded} to all; {Learned} addresses learned, {Ports.Sum(port => port.Dropped.Sum)} packets dropped");
}

/// <summary>One port of a switch.</summary>
/// <param name="Port">Its name.</param>
/// <param name="PacketsFrom">Packets from it.</param>
/// <param name="BytesFrom">Their bytes.</param>
/// <param name="PacketsTo">Packets to it.</param>
/// <param name="BytesTo">Their bytes.</param>
/// <param name="Segmented">Long packets that were cut for it.</param>
/// <param name="Captured">Packets in its file.</param>
/// <param name="NotCaptured">Packets that the file was too slow for.</param>
/// <param name="Dropped">Packets from it or to it that were dropped.</param>
/// <param name="Tap">What only a TAP interface has; null: the port is a guest's.</param>
internal sealed record SwitchPortReport(
    string Port, long PacketsFrom, long BytesFrom, long PacketsTo, long BytesTo, long Segmented, long Captured, long NotCaptured, SwitchDropReport Dropped, TapReport? Tap)
{
    internal static SwitchPortReport Of(string name, NetSwitchPortStatistics of, TapReport? tap) =>
        new(name, of.FromPort.Packets, of.FromPort.Bytes, of.ToPort.Packets, of.ToPort.Bytes, of.Segmented, of.Captured, of.NotCaptured, SwitchDropReport.Of(of), tap);
}

/// <summary>A port that is a TAP interface.</summary>
/// <param name="Interface">Its name.</param>
/// <param name="RefusedByKernel">Packets to it that the kernel did not take: it was down, or what was left to do to them made no sense.</param>
/// <param name="RefusedBySwitch">Packets from it that are longer than any packet of a guest.</param>
internal sealed record TapReport(string Interface, long RefusedByKernel, long RefusedBySwitch);

/// <summary>Dropped packets of one port, by reason; those of the first three and the last but one came from it, the others were for it.</summary>
internal sealed record SwitchDropReport(
    long Runts, long LinkLocal, long SamePort, long NotServed, long QueueFull, long Unwanted, long Unsegmentable, long Errors, long Refused)
{
    internal long Sum => Runts + LinkLocal + SamePort + NotServed + QueueFull + Unwanted + Unsegmentable + Errors + Refused;

    internal static SwitchDropReport Of(NetSwitchPortStatistics of) => new(
        of.Runts, of.LinkLocal, of.SamePort, of.NotServed, of.QueueFull, of.Unwanted, of.Unsegmentable, of.FromPort.Errors + of.FromPort.NoBuffers, of.ToPort.Refused);
}
