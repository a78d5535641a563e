using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>A piece of the guest's memory that a front-end shares.</summary>
/// <param name="GuestAddress">Guest-physical address of the first byte.</param>
/// <param name="UserAddress">The front-end's own address of the first byte.</param>
/// <param name="Size">Bytes.</param>
public readonly record struct BackendMemoryRegion(GuestAddress GuestAddress, UserAddress UserAddress, ulong Size);
