namespace Vhost.Backend;

/// <summary>A device with shared memory regions (virtio 1.2, 2.10; SHMEM is offered): the front-end has the address space, the device maps files into it.</summary>
/// <remarks>Mapped with <see cref="VhostUserBackendRequests.MapSharedMemoryAsync"/>.</remarks>
public interface ISharedMemoryDevice : IVhostUserDevice
{
    /// <summary>Sizes of the regions in bytes by identifier, at most 256, each a multiple of the page size; 0: there is no region with that identifier. Read once, when the back-end is made.</summary>
    IReadOnlyList<ulong> SharedMemorySizes { get; }
}
