namespace Vhost.Tool;

/// <summary>What <c>probe --json</c> prints.</summary>
internal sealed record ProbeReport
{
    public required string Socket { get; init; }

    public required NegotiationReport Negotiation { get; init; }

    /// <summary>Every protocol feature that there is.</summary>
    public required IReadOnlyList<ProtocolBitReport> ProtocolBits { get; init; }

    /// <summary>The first bytes of the configuration space in hexadecimal; absent when the back-end has none.</summary>
    public string? ConfigHex { get; init; }

    /// <summary>The configuration space read as a block device's; absent when it cannot be one.</summary>
    public BlockConfigReport? Block { get; init; }
}
