using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Decodes one valid request of the back-end and hands it to who answers it. An exception of the handler is a refusal.</summary>
internal sealed class BackendRequestDispatcher(IVhostUserBackendRequestHandler handler, ConfigChangePump configChanges, ILogger log)
{
    private readonly HandlerFailures _failures = new(log);

    /// <summary>Everything but SHARED_OBJECT_LOOKUP; true when done.</summary>
    public async ValueTask<bool> HandleAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        VhostUserBackendRequest request = (VhostUserBackendRequest)message.Header.Request;
        if (request == VhostUserBackendRequest.ConfigChangeMsg)
        {
            configChanges.Signal();
            return true;
        }

        try
        {
            return await CallAsync(handler, request, message, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception failure) when (!cancellationToken.IsCancellationRequested)
        {
            _failures.Log(failure, NameOf(request));
            return false;
        }
    }

    public async ValueTask<SafeFileHandle?> LookupAsync(VhostUserMessage message, CancellationToken cancellationToken)
    {
        if (!VhostUserSharedObject.TryRead(message.Payload, out VhostUserSharedObject key))
            return null;
        try
        {
            return await handler.OnSharedObjectLookupAsync(key.Id, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception failure) when (!cancellationToken.IsCancellationRequested)
        {
            _failures.Log(failure, NameOf(VhostUserBackendRequest.SharedObjectLookup));
            return null;
        }
    }

    private static ValueTask<bool> CallAsync(
        IVhostUserBackendRequestHandler handler,
        VhostUserBackendRequest request,
        VhostUserMessage message,
        CancellationToken cancellationToken) => request switch
        {
            VhostUserBackendRequest.IotlbMsg when VhostUserIotlb.TryRead(message.Payload, out VhostUserIotlb iotlb) =>
                handler.OnIotlbAsync(iotlb, cancellationToken),
            VhostUserBackendRequest.VringHostNotifierMsg when VhostUserVringArea.TryRead(message.Payload, out VhostUserVringArea area) =>
                handler.OnVringHostNotifierAsync(area, Take(message), cancellationToken),
            VhostUserBackendRequest.VringCall when VhostUserVringState.TryRead(message.Payload, out VhostUserVringState call) =>
                handler.OnVringCallAsync(call.Index, cancellationToken),
            VhostUserBackendRequest.VringErr when VhostUserVringState.TryRead(message.Payload, out VhostUserVringState error) =>
                handler.OnVringErrorAsync(error.Index, cancellationToken),
            VhostUserBackendRequest.SharedObjectAdd when VhostUserSharedObject.TryRead(message.Payload, out VhostUserSharedObject added) =>
                handler.OnSharedObjectAddAsync(added.Id, cancellationToken),
            VhostUserBackendRequest.SharedObjectRemove when VhostUserSharedObject.TryRead(message.Payload, out VhostUserSharedObject removed) =>
                handler.OnSharedObjectRemoveAsync(removed.Id, cancellationToken),
            VhostUserBackendRequest.ShmemMap when VhostUserShmemMap.TryRead(message.Payload, out VhostUserShmemMap map)
                && Take(message) is { } memory => handler.OnShmemMapAsync(map, memory, cancellationToken),
            VhostUserBackendRequest.ShmemUnmap when VhostUserShmemMap.TryRead(message.Payload, out VhostUserShmemMap unmap) =>
                handler.OnShmemUnmapAsync(unmap, cancellationToken),
            _ => ValueTask.FromResult(false),
        };

    private static SafeFileHandle? Take(VhostUserMessage message) => message.DescriptorCount == 0 ? null : message.TakeDescriptor(0);

    private static string NameOf(VhostUserBackendRequest request) => MessageContracts.NameOf(VhostUserChannel.Backend, (uint)request);
}
