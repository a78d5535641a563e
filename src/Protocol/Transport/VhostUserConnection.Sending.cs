using System.Runtime.InteropServices;

namespace Vhost.Protocol;

public sealed partial class VhostUserConnection
{
    /// <summary>Sends one message with one system call where the peer keeps up; its descriptors travel with the first byte.</summary>
    /// <param name="header">Any header; nothing is checked against the payload.</param>
    /// <param name="payload">Any payload.</param>
    /// <param name="descriptors">0 to <see cref="MaxDescriptors"/> descriptors; borrowed for the call, the peer gets duplicates.</param>
    /// <param name="cancellationToken">Free while nothing of the message has left; afterwards it ends the connection, and the exception says so.</param>
    /// <returns>A task that ends when the last byte has left.</returns>
    /// <exception cref="VhostUserDisconnectedException">The peer is gone.</exception>
    /// <exception cref="VhostUserTimeoutException">The peer did not read for <see cref="SendTimeout"/>; the connection was ended.</exception>
    /// <exception cref="ArgumentException">More descriptors than a message can carry.</exception>
    /// <exception cref="ObjectDisposedException">The connection was disposed, before or meanwhile.</exception>
    public async ValueTask SendAsync(
        VhostUserHeader header, ReadOnlyMemory<byte> payload, ReadOnlyMemory<SafeHandle> descriptors = default, CancellationToken cancellationToken = default)
    {
        CheckDescriptorCount(descriptors.Length);
        await _sendGate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await SendAllAsync(Encode(header, payload), descriptors, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _sendGate.Release();
        }
    }

    /// <summary>Sends one message without descriptors, unless there is no room for a byte of it: a peer that does not read is not given up for it.</summary>
    /// <returns>Whether it has left.</returns>
    internal async ValueTask<bool> TrySendAsync(VhostUserHeader header, ReadOnlyMemory<byte> payload)
    {
        await _sendGate.WaitAsync().ConfigureAwait(false);
        try
        {
            ReadOnlyMemory<byte> bytes = Encode(header, payload);
            int sent = SendWhatFits(bytes, default, 0);
            if (sent is > 0 && sent < bytes.Length) await SendRestAsync(bytes, default, sent, CancellationToken.None).ConfigureAwait(false);
            return sent > 0;
        }
        finally
        {
            _sendGate.Release();
        }
    }

    /// <summary>Sends bytes as they are, whole messages or not. For testers; everything said about <see cref="SendAsync"/> holds.</summary>
    /// <param name="bytes">At least one byte.</param>
    /// <param name="descriptors">Descriptors that travel with the first byte; borrowed for the call.</param>
    /// <param name="cancellationToken">Free while nothing has left.</param>
    /// <returns>A task that ends when the last byte has left.</returns>
    /// <exception cref="VhostUserDisconnectedException">The peer is gone.</exception>
    /// <exception cref="VhostUserTimeoutException">The peer did not read for <see cref="SendTimeout"/>; the connection was ended.</exception>
    /// <exception cref="ArgumentException">No bytes, or more descriptors than a message can carry.</exception>
    public async ValueTask SendRawAsync(
        ReadOnlyMemory<byte> bytes, ReadOnlyMemory<SafeHandle> descriptors = default, CancellationToken cancellationToken = default)
    {
        if (bytes.IsEmpty) throw new ArgumentException("Descriptors travel with a byte; there is none.", nameof(bytes));
        CheckDescriptorCount(descriptors.Length);
        await _sendGate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await SendAllAsync(bytes, descriptors, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _sendGate.Release();
        }
    }

    private static void CheckDescriptorCount(int count)
    {
        if (count > MaxDescriptors)
            throw new ArgumentException($"{count} descriptors in one message; the kernel carries at most {MaxDescriptors}.", nameof(count));
    }

    private ReadOnlyMemory<byte> Encode(in VhostUserHeader header, ReadOnlyMemory<byte> payload)
    {
        int length = VhostUserHeader.EncodedSize + payload.Length;
        if (_sendBuffer.Length < length) _sendBuffer = new byte[length];
        header.Write(_sendBuffer);
        payload.Span.CopyTo(_sendBuffer.AsSpan(VhostUserHeader.EncodedSize));
        return _sendBuffer.AsMemory(0, length);
    }

    private ValueTask SendAllAsync(ReadOnlyMemory<byte> bytes, ReadOnlyMemory<SafeHandle> descriptors, CancellationToken cancellationToken)
    {
        int sent = SendWhatFits(bytes, descriptors, 0);
        return sent == bytes.Length ? ValueTask.CompletedTask : SendRestAsync(bytes, descriptors, sent, cancellationToken);
    }

    private async ValueTask SendRestAsync(ReadOnlyMemory<byte> bytes, ReadOnlyMemory<SafeHandle> descriptors, int sent, CancellationToken cancellationToken)
    {
        using CancellationTokenSource deadline = new(SendTimeout, _options.TimeProvider);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            while (sent < bytes.Length)
            {
                await _transport.WaitSendableAsync(either.Token).ConfigureAwait(false);
                sent = SendWhatFits(bytes, descriptors, sent);
            }
        }
        catch (OperationCanceledException canceled)
        {
            throw Interrupted(sent, bytes.Length, canceled, cancellationToken);
        }
    }

    /// <returns>Bytes of the message that have left so far.</returns>
    private int SendWhatFits(ReadOnlyMemory<byte> bytes, ReadOnlyMemory<SafeHandle> descriptors, int sent)
    {
        while (sent < bytes.Length)
        {
            // A second copy of the descriptors with the rest of a message would look like descriptors of the next one.
            int count = _transport.TrySend(bytes.Span[sent..], sent == 0 ? descriptors.Span : default);
            if (count == IVhostUserTransport.WouldBlock) break;
            sent += count;
        }

        return sent;
    }

    private Exception Interrupted(int sent, int length, OperationCanceledException canceled, CancellationToken cancellationToken)
    {
        bool byCaller = cancellationToken.IsCancellationRequested;
        if (byCaller && sent == 0) return new OperationCanceledException("Cancelled before any byte had left.", canceled, cancellationToken);
        string message = byCaller
            ? $"{Name}: cancelled after {sent} of {length} bytes had left; the rest of a message cannot be taken back, so the connection was ended."
            : $"{Name}: the peer did not read for {SendTimeout.TotalSeconds:0.###} s ({sent} of {length} bytes had left); the connection was ended.";
        VhostUserException reason = byCaller ? new VhostUserDisconnectedException(message, canceled) : new VhostUserTimeoutException(message);
        Abort(reason);
        return byCaller ? new OperationCanceledException(message, canceled, cancellationToken) : reason;
    }
}
