using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

// GPU_SET_SOCKET.
public sealed partial class VhostUserFrontend
{
    private GpuServer? _gpu;

    /// <summary>
    /// GPU_SET_SOCKET: gives a GPU back-end the displays to draw on, until the session ends. A back-end that breaks the rules there loses the channel, which is logged, and keeps the session; one that is no GPU refuses
    /// (seen only with REPLY_ACK).
    /// </summary>
    /// <param name="displays">The displays. Given again, they take the place of those before.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Ends when the back-end has them.</returns>
    /// <exception cref="VhostUserRejectedException">The back-end refuses.</exception>
    public async ValueTask ShowGpuAsync(IGpuDisplays displays, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(displays);
        using OperationGate.Pass pass = await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        (VhostUserConnection ours, SafeFileHandle theirs) = VhostUserConnection.CreatePairWithHandle(
            _peer + ", GPU channel",
            new VhostUserConnectionOptions { TimeProvider = _options.TimeProvider, Logger = _log, MaxPayload = GpuContracts.MaxUpdate, MostPayload = GpuContracts.MostPayload });
        GpuServer server = new(ours, displays, _log);
        try
        {
            using (theirs)
                await Requests.GpuSetSocketAsync(theirs, cancellationToken).ConfigureAwait(false);
            await ConfirmAsync(cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await server.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        if (Interlocked.Exchange(ref _gpu, server) is { } before)
            await before.DisposeAsync().ConfigureAwait(false);
        if (_completion.Task.IsCompleted)
            await CloseGpuAsync().ConfigureAwait(false);
    }

    private async ValueTask CloseGpuAsync()
    {
        if (Interlocked.Exchange(ref _gpu, null) is { } server)
            await server.DisposeAsync().ConfigureAwait(false);
    }
}
