namespace Vhost.Tool;

/// <summary>What <c>--print-capabilities</c> answers (vhost-user specification, "Back-end program conventions").</summary>
internal sealed record CapabilitiesReport
{
    public string Type { get; init; } = "block";

    /// <summary>Options of the specification's block back-ends that this one takes: <c>--read-only</c> and <c>--blk-file</c>.</summary>
    public IReadOnlyList<string> Features { get; init; } = ["read-only", "blk-file"];
}
