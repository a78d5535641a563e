using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// What a back-end asks of its front-end, on the channel that the front-end has given it (BACKEND_REQ): one method for each message. <see cref="VhostUserBackend.Requests"/>.
/// </summary>
/// <remarks>
/// <para>
/// Any thread may begin one. No member of a device may wait for its end, <see cref="IVhostUserDevice.Process"/> among them: a front-end may answer only when its own request has been answered, and its request may be the one
/// that stops the queue which <see cref="IVhostUserDevice.Process"/> is serving. Begin it there, and go on with what follows elsewhere. Requests go out one at a time, in the order of the calls.
/// </para>
/// <para>
/// With REPLY_ACK a call ends when the front-end has done what was asked; without it when the request has left. Cancelling is free until then; once the request has left it ends the channel, since its answer could not be
/// told from the next one. So does a front-end that does not answer within ten seconds. The session goes on without a channel.
/// </para>
/// <para>Each method may throw:</para>
/// <list type="bullet">
/// <item><see cref="VhostUserDisconnectedException"/>: no front-end is connected, it has given no channel, or the channel has ended.</item>
/// <item><see cref="VhostUserFeatureException"/>: the message is not negotiated.</item>
/// <item><see cref="InvalidOperationException"/>: no ring is started. Such a device is suspended, and must be silent.</item>
/// <item><see cref="VhostUserRejectedException"/>: the front-end has refused.</item>
/// <item><see cref="VhostUserTimeoutException"/>: it does not answer, or does not read.</item>
/// </list>
/// </remarks>
public sealed class VhostUserBackendRequests
{
    private readonly VhostUserBackend _backend;

    internal VhostUserBackendRequests(VhostUserBackend backend) => _backend = backend;

    private BackendSession Session => _backend.Session ?? throw new VhostUserDisconnectedException("No front-end is connected.");

    /// <summary>SHARED_OBJECT_ADD (6): makes an object of this device known to others, which fetch it with <see cref="ISharedObjectDevice.OpenSharedObject"/>. Forgotten when the front-end goes.</summary>
    /// <param name="id">The object. The front-end refuses one that is known already.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <returns>Ends when it is known.</returns>
    public ValueTask AddSharedObjectAsync(Guid id, CancellationToken cancellationToken = default) =>
        Session.AskAsync(VhostUserBackendRequest.SharedObjectAdd, new VhostUserSharedObject(id), null, cancellationToken);

    /// <summary>SHARED_OBJECT_REMOVE (7): takes an object of this device back.</summary>
    /// <param name="id">The object.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <returns>Ends when nobody finds it any more.</returns>
    public ValueTask RemoveSharedObjectAsync(Guid id, CancellationToken cancellationToken = default) =>
        Session.AskAsync(VhostUserBackendRequest.SharedObjectRemove, new VhostUserSharedObject(id), null, cancellationToken);

    /// <summary>SHARED_OBJECT_LOOKUP (8): asks for an object that another device, or the front-end itself, has made known.</summary>
    /// <param name="id">The object.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <returns>Its descriptor, the caller's to close; null: nobody has it. (QEMU up to 10.2 says that it is there and sends no descriptor, which is null too.)</returns>
    public ValueTask<SafeFileHandle?> FindSharedObjectAsync(Guid id, CancellationToken cancellationToken = default) => Session.FindSharedObjectAsync(id, cancellationToken);

    /// <summary>SHMEM_MAP (9): shows a part of a file to the driver, in one of the device's shared memory regions.</summary>
    /// <param name="mapping">Which part of the file, and where in the region; page-aligned, and no other mapping may lie there.</param>
    /// <param name="file">The file; borrowed for the call.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <returns>Ends when the driver sees it. It does until it is unmapped, the device is reset or the front-end goes.</returns>
    public ValueTask MapSharedMemoryAsync(VhostUserShmemMap mapping, SafeHandle file, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(file);
        return Session.AskAsync(VhostUserBackendRequest.ShmemMap, mapping, file, cancellationToken);
    }

    /// <summary>SHMEM_UNMAP (10): takes back exactly one mapping.</summary>
    /// <param name="regionId">The region.</param>
    /// <param name="regionOffset">Where it lies in the region, in bytes.</param>
    /// <param name="length">Its length, in bytes.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <returns>Ends when the driver does not see it any more.</returns>
    public ValueTask UnmapSharedMemoryAsync(byte regionId, ulong regionOffset, ulong length, CancellationToken cancellationToken = default) => Session.AskAsync(
        VhostUserBackendRequest.ShmemUnmap, new VhostUserShmemMap(regionId, 0, regionOffset, length, VhostUserShmemMapFlags.ReadOnly), null, cancellationToken);

    /// <summary>VRING_HOST_NOTIFIER_MSG (3): has the driver write its notifications of a queue to a page of the device, past the front-end and the back-end.</summary>
    /// <param name="queue">The queue, 0 to 255. The page is taken back when it stops: say it again when it has started.</param>
    /// <param name="page">What the page is mapped from; borrowed for the call.</param>
    /// <param name="offset">Where the page begins there, a multiple of the page size.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <returns>Ends when the page is in use.</returns>
    public ValueTask SetHostNotifierAsync(int queue, SafeHandle page, ulong offset = 0, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(page);
        return Session.AskAsync(
            VhostUserBackendRequest.VringHostNotifierMsg,
            new VhostUserVringArea(VhostUserVringDescriptor.Create(queue, noDescriptor: false), (ulong)Environment.SystemPageSize, offset),
            page,
            cancellationToken);
    }

    /// <summary>VRING_HOST_NOTIFIER_MSG (3) without a page: notifications of the queue come by its kick again.</summary>
    /// <param name="queue">The queue, 0 to 255.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <returns>Ends when the page is in use no more.</returns>
    public ValueTask RemoveHostNotifierAsync(int queue, CancellationToken cancellationToken = default) => Session.AskAsync(
        VhostUserBackendRequest.VringHostNotifierMsg, new VhostUserVringArea(VhostUserVringDescriptor.Create(queue, noDescriptor: true), 0, 0), null, cancellationToken);
}
