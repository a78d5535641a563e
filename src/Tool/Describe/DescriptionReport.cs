namespace Vhost.Tool;

/// <summary>What management programs read to find a back-end: VhostUserBackend of QEMU's docs/interop/vhost-user.json.</summary>
/// <param name="Description">For people.</param>
/// <param name="Type">The device.</param>
/// <param name="Binary">Absolute path of the program.</param>
/// <param name="Tags">For developers; management programs ignore them.</param>
internal sealed record DescriptionReport(string Description, string Type, string Binary, IReadOnlyList<string> Tags);
