namespace Vhost.Conformance;

/// <summary>What a device says of a chain that it has used.</summary>
/// <param name="Id">The chain: of a split ring its first descriptor, of a packed ring its buffer id.</param>
/// <param name="Length">Bytes that the device claims to have written.</param>
internal readonly record struct UsedBuffer(uint Id, uint Length);
