namespace Vhost.Conformance;

/// <summary>One request that an honest driver makes of a device, and what it expects back.</summary>
/// <param name="Chain">Its buffers.</param>
/// <param name="Check">Fails the case unless the device did what was asked of it.</param>
internal sealed record Work(ChainBuffer[] Chain, Action<UsedBuffer> Check);
