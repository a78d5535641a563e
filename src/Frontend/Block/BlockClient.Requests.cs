using System.Text;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>The asynchronous form.</summary>
/// <remarks>
/// Cancelling ends a call at once: parts of it that have not left are never sent; those that have left may still take effect on the disk, and the
/// caller's memory is not touched any more.
/// </remarks>
public sealed partial class BlockClient
{
    /// <summary>Reads from the disk. Split into requests of up to <see cref="BlockClientOptions.BufferSize"/>, several of which are in the device at a time.</summary>
    /// <param name="offset">First byte, a multiple of <see cref="BlockSize"/>.</param>
    /// <param name="destination">Filled completely; its length is a multiple of <see cref="BlockSize"/>.</param>
    /// <param name="progress">Told the bytes done, now and then, on a thread of the client.</param>
    /// <param name="cancellationToken">Gives up; see the remarks.</param>
    /// <returns>Completes when everything was read. To be awaited once.</returns>
    /// <exception cref="ArgumentException">The range is not whole blocks inside the disk.</exception>
    /// <exception cref="BlockRequestException">The device reported an error.</exception>
    /// <exception cref="VhostUserException">The back-end or the queue is lost.</exception>
    public ValueTask ReadAsync(ulong offset, Memory<byte> destination, IProgress<long>? progress = null, CancellationToken cancellationToken = default) =>
        TransferAsync(VirtioBlkRequestType.In, offset, new BlockPayload(destination), progress, cancellationToken);

    /// <summary>Reads one range of the disk into several pieces of memory, one behind the other.</summary>
    /// <inheritdoc cref="ReadAsync(ulong, Memory{byte}, IProgress{long}?, CancellationToken)"/>
    public ValueTask ReadAsync(ulong offset, IReadOnlyList<Memory<byte>> destination, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(destination);
        return TransferAsync(VirtioBlkRequestType.In, offset, new BlockPayload(destination), progress, cancellationToken);
    }

    /// <summary>Writes to the disk. Split into requests of up to <see cref="BlockClientOptions.BufferSize"/>, several of which are in the device at a time.</summary>
    /// <param name="offset">First byte, a multiple of <see cref="BlockSize"/>.</param>
    /// <param name="source">The data, a multiple of <see cref="BlockSize"/> long; must not change until the call completes.</param>
    /// <param name="progress">Told the bytes done, now and then, on a thread of the client.</param>
    /// <param name="cancellationToken">Gives up; see the remarks.</param>
    /// <returns>Completes when everything was written; <see cref="FlushAsync"/> makes it durable. To be awaited once.</returns>
    /// <exception cref="ArgumentException">The range is not whole blocks inside the disk.</exception>
    /// <exception cref="InvalidOperationException">The device is read-only.</exception>
    /// <exception cref="BlockRequestException">The device reported an error.</exception>
    /// <exception cref="VhostUserException">The back-end or the queue is lost.</exception>
    public ValueTask WriteAsync(ulong offset, ReadOnlyMemory<byte> source, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        RequireWritable();
        return TransferAsync(VirtioBlkRequestType.Out, offset, new BlockPayload(source), progress, cancellationToken);
    }

    /// <summary>Writes several pieces of memory, one behind the other, to one range of the disk.</summary>
    /// <inheritdoc cref="WriteAsync(ulong, ReadOnlyMemory{byte}, IProgress{long}?, CancellationToken)"/>
    public ValueTask WriteAsync(ulong offset, IReadOnlyList<ReadOnlyMemory<byte>> source, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(source);
        RequireWritable();
        return TransferAsync(VirtioBlkRequestType.Out, offset, new BlockPayload(source), progress, cancellationToken);
    }

    /// <summary>Makes all writes that have completed durable. Does nothing where FLUSH is not negotiated: the device then writes through.</summary>
    /// <param name="cancellationToken">Gives up waiting.</param>
    /// <exception cref="BlockRequestException">The device reported an error.</exception>
    /// <exception cref="VhostUserException">The back-end or the queue is lost.</exception>
    public ValueTask FlushAsync(CancellationToken cancellationToken = default) => (Features & VirtioBlkFeatures.Flush) == 0
        ? ValueTask.CompletedTask
        : Start(new BlockTransferRequest(VirtioBlkRequestType.Flush, 0, 0, 1), default, null, cancellationToken);

    /// <summary>Gives a range up; what it reads as afterwards is open.</summary>
    /// <param name="offset">First byte, a multiple of <see cref="BlockSize"/>.</param>
    /// <param name="length">Bytes, a multiple of <see cref="BlockSize"/>.</param>
    /// <param name="progress">Told the bytes done, now and then.</param>
    /// <param name="cancellationToken">Gives up; see the remarks.</param>
    /// <exception cref="VhostUserFeatureException">The device has no discard.</exception>
    /// <exception cref="BlockRequestException">The device reported an error.</exception>
    /// <exception cref="VhostUserException">The back-end or the queue is lost.</exception>
    public ValueTask DiscardAsync(ulong offset, ulong length, IProgress<long>? progress = null, CancellationToken cancellationToken = default) =>
        ChangeAsync(new BlockTransferRequest(VirtioBlkRequestType.Discard, offset, length, Geometry.MaxDiscard), VirtioBlkFeatures.Discard, progress, cancellationToken);

    /// <summary>Makes a range read as zeroes.</summary>
    /// <param name="offset">First byte, a multiple of <see cref="BlockSize"/>.</param>
    /// <param name="length">Bytes, a multiple of <see cref="BlockSize"/>.</param>
    /// <param name="mayUnmap">Whether the device may give the space back.</param>
    /// <param name="progress">Told the bytes done, now and then.</param>
    /// <param name="cancellationToken">Gives up; see the remarks.</param>
    /// <exception cref="VhostUserFeatureException">The device cannot do this.</exception>
    /// <exception cref="BlockRequestException">The device reported an error.</exception>
    /// <exception cref="VhostUserException">The back-end or the queue is lost.</exception>
    public ValueTask WriteZeroesAsync(
        ulong offset, ulong length, bool mayUnmap = false, IProgress<long>? progress = null, CancellationToken cancellationToken = default) =>
        ChangeAsync(
            new BlockTransferRequest(VirtioBlkRequestType.WriteZeroes, offset, length, Geometry.MaxWriteZeroes, mayUnmap),
            VirtioBlkFeatures.WriteZeroes,
            progress,
            cancellationToken);

    /// <summary>Asks the device for its identity.</summary>
    /// <param name="cancellationToken">Gives up waiting.</param>
    /// <returns>Up to 20 ASCII characters.</returns>
    /// <exception cref="BlockRequestException">The device has none, or reported an error.</exception>
    /// <exception cref="VhostUserException">The back-end or the queue is lost.</exception>
    public async ValueTask<string> GetIdAsync(CancellationToken cancellationToken = default)
    {
        byte[] id = new byte[VirtioBlkRequestHeader.IdSize];
        BlockTransferRequest request = new(VirtioBlkRequestType.GetId, 0, VirtioBlkRequestHeader.IdSize, VirtioBlkRequestHeader.IdSize);
        await Start(request, new BlockPayload(id.AsMemory()), null, cancellationToken).ConfigureAwait(false);
        int end = Array.IndexOf(id, (byte)0);
        return Encoding.ASCII.GetString(id, 0, end < 0 ? id.Length : end);
    }

    private ValueTask TransferAsync(VirtioBlkRequestType type, ulong offset, in BlockPayload payload, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        BlockGeometry geometry = Geometry;
        ulong length = payload.Length;
        geometry.RequireInside(offset, length);
        return length == 0
            ? ValueTask.CompletedTask
            : Start(new BlockTransferRequest(type, offset, length, geometry.MaxTransfer), payload, progress, cancellationToken);
    }

    private ValueTask ChangeAsync(in BlockTransferRequest request, VirtioBlkFeatures feature, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        RequireWritable();
        if ((Features & feature) == 0 || request.MaxPiece == 0)
        {
            throw new VhostUserFeatureException(
                $"{request.Type}: the device does not offer it (VIRTIO_BLK_F_{request.Type}), or names a limit of 0.",
                (VirtioFeatures)(ulong)feature,
                VhostUserProtocolFeatures.None);
        }

        Geometry.RequireInside(request.Offset, request.Length);
        return request.Length == 0 ? ValueTask.CompletedTask : Start(request, default, progress, cancellationToken);
    }

    private ValueTask Start(in BlockTransferRequest request, in BlockPayload payload, IProgress<long>? progress, CancellationToken cancellationToken)
    {
        if (_options.Polled)
            throw new InvalidOperationException("A polled client has no asynchronous requests; use its Queues.");
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        return cancellationToken.IsCancellationRequested
            ? ValueTask.FromCanceled(cancellationToken)
            : NextQueue().Start(request, payload, progress, cancellationToken);
    }

    /// <summary>The queues take turns; one whose ring is broken is passed over while another lives.</summary>
    private BlockTransferQueue NextQueue()
    {
        uint turn = Interlocked.Increment(ref _nextQueue);
        for (uint i = 0; i < _transferQueues.Length; i++)
        {
            BlockTransferQueue queue = _transferQueues[(turn + i) % (uint)_transferQueues.Length];
            if (queue.Failure is null)
                return queue;
        }

        return _transferQueues[turn % (uint)_transferQueues.Length];
    }

    private void RequireWritable()
    {
        if (IsReadOnly)
            throw new InvalidOperationException("The device is read-only (VIRTIO_BLK_F_RO).");
    }
}
