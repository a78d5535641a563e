using Microsoft.Win32.SafeHandles;

namespace Vhost.Backend;

/// <summary>A device with objects that other devices may use (SHARED_OBJECT is offered): buffers that it exports as dma-bufs, found by number.</summary>
/// <remarks>Objects are made known with <see cref="VhostUserBackendRequests.AddSharedObjectAsync"/>, and forgotten with the front-end.</remarks>
public interface ISharedObjectDevice : IVhostUserDevice
{
    /// <summary>GET_SHARED_OBJECT (41): the front-end wants the descriptor of an object, for another device or for itself. Called from the session; must not wait.</summary>
    /// <param name="id">The object; what the front-end says, which need not be one that was made known.</param>
    /// <returns>A descriptor, closed once it was sent; null: there is no such object.</returns>
    SafeFileHandle? OpenSharedObject(Guid id);
}
