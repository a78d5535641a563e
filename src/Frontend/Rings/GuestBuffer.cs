using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>A buffer in guest memory that a driver offers to the device.</summary>
/// <param name="Address">Guest-physical address of the first byte.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct GuestBuffer(GuestAddress Address, uint Length);

/// <summary>A request that came back from the device.</summary>
/// <param name="Token">What the request was submitted with.</param>
/// <param name="BytesWritten">Bytes the device says it wrote, never more than the request had room for.</param>
/// <param name="LengthClamped">True when the device claimed more bytes than the request had room for; do not trust the data.</param>
public readonly record struct DriverCompletion(ulong Token, uint BytesWritten, bool LengthClamped);
