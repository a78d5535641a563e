namespace Vhost.Tool;

/// <summary>Which switch to be, as it was asked for.</summary>
internal sealed record SwitchSettings
{
    internal const int MostPorts = 255;

    /// <summary>The sockets of the ports, in order.</summary>
    public required IReadOnlyList<SocketSettings> Sockets { get; init; }

    /// <summary>The TAP interfaces that are the ports behind these, by the names that were asked for.</summary>
    public required IReadOnlyList<string> Taps { get; init; }

    /// <summary>What all of them have in common.</summary>
    public required SocketSettings Shared { get; init; }

    /// <summary>The file to write the packets of a port into, by the port's name on the command line.</summary>
    public required IReadOnlyDictionary<string, string> Captures { get; init; }

    public required int Queues { get; init; }

    public required TimeSpan Ageing { get; init; }

    public required int Stations { get; init; }
}
