using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>What a session answers the back-end by itself; the rest goes to the user's handler, or is refused where there is none.</summary>
internal sealed class SessionRequests(VhostUserFrontend session, SharedObjectRegistry? objects, IVhostUserBackendRequestHandler? user) : IVhostUserBackendRequestHandler
{
    private static ValueTask<bool> Refused => ValueTask.FromResult(false);

    public async ValueTask<bool> OnIotlbAsync(VhostUserIotlb message, CancellationToken cancellationToken) =>
        await session.TryAnswerIotlbAsync(message, cancellationToken).ConfigureAwait(false) is { } done ? done
        : user is not null && await user.OnIotlbAsync(message, cancellationToken).ConfigureAwait(false);

    public ValueTask<bool> OnVringCallAsync(uint index, CancellationToken cancellationToken) =>
        session.TryCallDriver(index) ? ValueTask.FromResult(true) : user?.OnVringCallAsync(index, cancellationToken) ?? Refused;

    public ValueTask<bool> OnVringErrorAsync(uint index, CancellationToken cancellationToken) =>
        session.TryTellError(index) ? ValueTask.FromResult(true) : user?.OnVringErrorAsync(index, cancellationToken) ?? Refused;

    public ValueTask<bool> OnVringHostNotifierAsync(VhostUserVringArea area, SafeFileHandle? descriptor, CancellationToken cancellationToken)
    {
        if (session.UsesHostNotifiers)
            return session.UseHostNotifierAsync(area, descriptor, cancellationToken);
        if (user is not null)
            return user.OnVringHostNotifierAsync(area, descriptor, cancellationToken);
        descriptor?.Dispose();
        return Refused;
    }

    public ValueTask<bool> OnSharedObjectAddAsync(Guid id, CancellationToken cancellationToken) =>
        objects is not null ? ValueTask.FromResult(session.TryAddSharedObject(objects, id)) : user?.OnSharedObjectAddAsync(id, cancellationToken) ?? Refused;

    public ValueTask<bool> OnSharedObjectRemoveAsync(Guid id, CancellationToken cancellationToken) =>
        objects is not null ? ValueTask.FromResult(session.TryRemoveSharedObject(objects, id)) : user?.OnSharedObjectRemoveAsync(id, cancellationToken) ?? Refused;

    public ValueTask<SafeFileHandle?> OnSharedObjectLookupAsync(Guid id, CancellationToken cancellationToken) =>
        objects?.FindForAsync(id, session.IsInband || session.UsesIommu, cancellationToken) ?? user?.OnSharedObjectLookupAsync(id, cancellationToken) ?? ValueTask.FromResult<SafeFileHandle?>(null);

    public ValueTask<bool> OnShmemMapAsync(VhostUserShmemMap mapping, SafeFileHandle descriptor, CancellationToken cancellationToken)
    {
        if (session.TryMapSharedMemory(mapping, descriptor) is { } done)
            return ValueTask.FromResult(done);
        if (user is not null)
            return user.OnShmemMapAsync(mapping, descriptor, cancellationToken);
        descriptor.Dispose();
        return Refused;
    }

    public ValueTask<bool> OnShmemUnmapAsync(VhostUserShmemMap mapping, CancellationToken cancellationToken) =>
        session.TryUnmapSharedMemory(mapping) is { } done ? ValueTask.FromResult(done) : user?.OnShmemUnmapAsync(mapping, cancellationToken) ?? Refused;
}
