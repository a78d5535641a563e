namespace Vhost.Tool;

/// <summary>
/// What <c>--print-capabilities</c> answers (vhost-user specification, "Back-end program conventions"; VHostUserBackendCapabilities of QEMU's docs/interop/vhost-user.json).
/// </summary>
/// <param name="Type">The device.</param>
/// <param name="Features">Options of the specification's back-ends of this type that this one takes; null: the specification has none for the type.</param>
internal sealed record CapabilitiesReport(string Type, IReadOnlyList<string>? Features)
{
    internal static CapabilitiesReport Block { get; } = new("block", ["read-only", "blk-file"]);

    internal static CapabilitiesReport Rng { get; } = new("rng", null);

    internal static CapabilitiesReport Console { get; } = new("console", null);

    internal static CapabilitiesReport Net { get; } = new("net", null);
}
