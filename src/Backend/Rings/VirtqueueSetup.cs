using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>All that the front-end said about a ring, taken together when the ring starts.</summary>
/// <param name="Index">Which queue.</param>
/// <param name="Size">Entries, as sent in SET_VRING_NUM.</param>
/// <param name="DescriptorTable">As sent in SET_VRING_ADDR.</param>
/// <param name="AvailableRing">As sent in SET_VRING_ADDR.</param>
/// <param name="UsedRing">As sent in SET_VRING_ADDR.</param>
/// <param name="Base">As sent in SET_VRING_BASE.</param>
/// <param name="Features">The acknowledged features.</param>
internal readonly record struct VirtqueueSetup(
    int Index, uint Size, UserAddress DescriptorTable, UserAddress AvailableRing, UserAddress UsedRing, uint Base, VirtioFeatures Features);
