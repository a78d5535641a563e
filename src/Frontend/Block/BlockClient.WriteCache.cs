using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The driver's choice of write cache, which each back-end that takes over is told before it serves anything.</summary>
public sealed partial class BlockClient
{
    /// <summary>The byte that the driver has written last; null: none, and each back-end begins as it likes.</summary>
    private byte[]? _writeCache;

    /// <summary>
    /// Switches the device's write cache (virtio 1.2, 5.2.5: <c>writeback</c>). Off: a write that has completed is durable, without <see cref="FlushAsync"/>. A back-end that takes over
    /// (<see cref="BlockClientOptions.Reconnect"/>) is told the same before it serves a request.
    /// </summary>
    /// <param name="on">Whether writes may complete before they are durable.</param>
    /// <param name="cancellationToken">Cancels freely until the request has left.</param>
    /// <returns>Completes when the device has switched; <see cref="Config"/> says so then.</returns>
    /// <exception cref="VhostUserFeatureException">The device has no cache that can be switched (VIRTIO_BLK_F_CONFIG_WCE).</exception>
    /// <exception cref="VhostUserRejectedException">The back-end refused; all is as before.</exception>
    /// <exception cref="OperationCanceledException">Cancelled; the next back-end is told what was chosen before.</exception>
    /// <exception cref="VhostUserException">The session failed. The next back-end, if there is one, is told all the same.</exception>
    public async ValueTask SetWriteCacheAsync(bool on, CancellationToken cancellationToken = default)
    {
        if ((Features & VirtioBlkFeatures.ConfigWriteCache) == 0)
        {
            throw new VhostUserFeatureException(
                "The write cache cannot be switched: VIRTIO_BLK_F_CONFIG_WCE is not negotiated.", (VirtioFeatures)(ulong)VirtioBlkFeatures.ConfigWriteCache, VhostUserProtocolFeatures.None);
        }

        // Noted first: a back-end that takes over while this one is asked is told too.
        byte[] choice = [on ? (byte)1 : (byte)0];
        byte[]? before = Interlocked.Exchange(ref _writeCache, choice);
        try
        {
            await Frontend.WriteConfigAsync(VirtioBlkConfig.WriteBackOffset, choice, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is VhostUserRejectedException or OperationCanceledException)
        {
            Interlocked.CompareExchange(ref _writeCache, before, choice);
            throw;
        }

        Volatile.Write(ref _geometry, await ReadGeometryAsync(cancellationToken).ConfigureAwait(false));
    }

    private ValueTask RestoreWriteCacheAsync(VhostUserFrontend next, CancellationToken stop) => Volatile.Read(ref _writeCache) is { } choice
        ? next.WriteConfigAsync(VirtioBlkConfig.WriteBackOffset, choice, stop)
        : ValueTask.CompletedTask;
}
