namespace Vhost.Conformance;

/// <summary>Who was examined. Does not change; may be used from any thread.</summary>
public sealed record ConformancePeer
{
    /// <summary><c>back-end</c> or <c>front-end</c>.</summary>
    public required string Role { get; init; }

    /// <summary>The path of its socket.</summary>
    public required string Socket { get; init; }

    /// <summary>The device that it was taken for, for example <c>blk</c>.</summary>
    public required string Device { get; init; }

    /// <summary>The program behind the socket as the system names it: of its file name, or of what it calls itself, the first 15 characters (<c>qemu-storage-da</c>). Empty where the system does not tell. It may have chosen any characters.</summary>
    public string Program { get; init; } = "";

    /// <summary>The feature bits that it offers, by name. Empty of a front-end, which offers none.</summary>
    public string Features { get; init; } = "";

    /// <summary>The protocol feature bits that it offers, by name. Empty of a front-end.</summary>
    public string ProtocolFeatures { get; init; } = "";

    /// <summary>How many queues it says it has (GET_QUEUE_NUM), 1 to 256; more than that count as 256. 0: it does not say, or says 0. Always 0 of a front-end.</summary>
    public int Queues { get; init; }
}
