using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// Answers what the back-end asks over its own channel (BACKEND_REQ). Implement what the device needs: the default of every member refuses.
/// Implemented by classes only: default members would box a struct.
/// </summary>
/// <remarks>
/// <para>The channel is served on a task of its own, also while the session waits for a reply on the main channel. Requests are handled one at a
/// time, in order; the acknowledgement goes out when the returned task ends (true: done, false: refused). An exception refuses the request and is
/// logged.</para>
/// <para><see cref="OnConfigChangedAsync"/> is the exception: it is acknowledged first and runs apart, so it may read the configuration
/// space; several changes that arrive while it runs are reported as one.</para>
/// </remarks>
public interface IVhostUserBackendRequestHandler
{
    /// <summary>CONFIG_CHANGE_MSG (2): the configuration space has changed; read it again.</summary>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>Completes when the change was taken in.</returns>
    ValueTask OnConfigChangedAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>IOTLB_MSG (1): a translation is missing. Send the update with <see cref="VhostUserRequestClient.IotlbMsgAsync"/> before
    /// returning.</summary>
    /// <param name="message">Miss (1) or access failure (4).</param>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>True when the message was dealt with.</returns>
    ValueTask<bool> OnIotlbAsync(VhostUserIotlb message, CancellationToken cancellationToken) => ValueTask.FromResult(false);

    /// <summary>VRING_HOST_NOTIFIER_MSG (3): a doorbell page for a ring, or its removal.</summary>
    /// <param name="area">The ring, size and offset: values of the back-end, to be checked against the page size.</param>
    /// <param name="descriptor">The page's memory, owned by the handler; null to remove.</param>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>True when the page was mapped or removed.</returns>
    ValueTask<bool> OnVringHostNotifierAsync(VhostUserVringArea area, SafeFileHandle? descriptor, CancellationToken cancellationToken)
    {
        descriptor?.Dispose();
        return ValueTask.FromResult(false);
    }

    /// <summary>VRING_CALL (4): a notification of a ring as a message (INBAND_NOTIFICATIONS).</summary>
    /// <param name="index">The ring; a value of the back-end.</param>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>True when the driver was notified.</returns>
    ValueTask<bool> OnVringCallAsync(uint index, CancellationToken cancellationToken) => ValueTask.FromResult(false);

    /// <summary>VRING_ERR (5): a ring is broken (INBAND_NOTIFICATIONS).</summary>
    /// <param name="index">The ring; a value of the back-end.</param>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>True when the report was taken in.</returns>
    ValueTask<bool> OnVringErrorAsync(uint index, CancellationToken cancellationToken) => ValueTask.FromResult(false);

    /// <summary>SHARED_OBJECT_ADD (6): registers an object; its descriptor is fetched later with GET_SHARED_OBJECT.</summary>
    /// <param name="id">The object.</param>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>True when registered; false when there is one already.</returns>
    ValueTask<bool> OnSharedObjectAddAsync(Guid id, CancellationToken cancellationToken) => ValueTask.FromResult(false);

    /// <summary>SHARED_OBJECT_REMOVE (7): only the owner may remove an object.</summary>
    /// <param name="id">The object.</param>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>True when removed.</returns>
    ValueTask<bool> OnSharedObjectRemoveAsync(Guid id, CancellationToken cancellationToken) => ValueTask.FromResult(false);

    /// <summary>SHARED_OBJECT_LOOKUP (8): asks for the descriptor of an object another device registered.</summary>
    /// <param name="id">The object.</param>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>A descriptor the session sends and then closes; null when there is no such object.</returns>
    ValueTask<SafeFileHandle?> OnSharedObjectLookupAsync(Guid id, CancellationToken cancellationToken) => ValueTask.FromResult<SafeFileHandle?>(null);

    /// <summary>SHMEM_MAP (9): maps memory into a shared memory region of the device.</summary>
    /// <param name="mapping">Region, offsets and length: values of the back-end, to be checked against the region.</param>
    /// <param name="descriptor">The memory, owned by the handler.</param>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>True when mapped.</returns>
    ValueTask<bool> OnShmemMapAsync(VhostUserShmemMap mapping, SafeFileHandle descriptor, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(descriptor);
        descriptor.Dispose();
        return ValueTask.FromResult(false);
    }

    /// <summary>SHMEM_UNMAP (10): removes exactly one mapping.</summary>
    /// <param name="mapping">Region, offset and length: values of the back-end.</param>
    /// <param name="cancellationToken">Cancelled when the session ends.</param>
    /// <returns>True when unmapped.</returns>
    ValueTask<bool> OnShmemUnmapAsync(VhostUserShmemMap mapping, CancellationToken cancellationToken) => ValueTask.FromResult(false);
}
