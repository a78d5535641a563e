using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol;

/// <summary>
/// One direction of a <see cref="PipeTransport"/>: bytes in a pipe, descriptors in a queue beside it, each set marked with the position of the byte
/// it travels with. Descriptors are duplicated on the way in, as the kernel does for a socket.
/// </summary>
internal sealed class PipeDirection
{
    /// <summary>About what a socket buffers: beyond it the writer waits for the reader.</summary>
    private const int BytesUnderWay = 64 * 1024;

    private readonly Pipe _pipe = new(new PipeOptions(
        pauseWriterThreshold: BytesUnderWay, resumeWriterThreshold: BytesUnderWay / 2, useSynchronizationContext: false));

    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Queue<(long Position, SafeFileHandle[] Handles)> _descriptors = new();
    private long _written;
    private long _read;
    private Task _flush = Task.CompletedTask;
    private bool _writerClosed;
    private bool _readerClosed;

    internal bool IsReaderClosed => Volatile.Read(ref _readerClosed);

    /// <summary>Completes when one of the ends is closed.</summary>
    internal Task Closed => _closed.Task;

    /// <returns>Bytes, 0 at the end, or <see cref="IVhostUserTransport.WouldBlock"/>.</returns>
    internal int TryRead(Span<byte> destination, ReceivedDescriptors descriptors)
    {
        if (Volatile.Read(ref _readerClosed)) return 0;
        if (!_pipe.Reader.TryRead(out ReadResult result)) return IVhostUserTransport.WouldBlock;
        int count = (int)Math.Min(result.Buffer.Length, destination.Length);
        ReadOnlySequence<byte> taken = result.Buffer.Slice(0, count);
        taken.CopyTo(destination);
        _pipe.Reader.AdvanceTo(taken.End);
        if (count == 0) return result.IsCompleted || Volatile.Read(ref _readerClosed) ? 0 : IVhostUserTransport.WouldBlock;
        TakeDescriptors(count, descriptors);
        return count;
    }

    internal async ValueTask WaitReadableAsync(CancellationToken cancellationToken)
    {
        ReadResult result = await _pipe.Reader.ReadAsync(cancellationToken).ConfigureAwait(false);
        _pipe.Reader.AdvanceTo(result.Buffer.Start);
    }

    /// <returns>Bytes, <see cref="IVhostUserTransport.WouldBlock"/>, or null when one of the ends is closed.</returns>
    internal int? TryWrite(ReadOnlySpan<byte> bytes, ReadOnlySpan<SafeHandle> descriptors)
    {
        lock (_gate)
        {
            if (_writerClosed || _readerClosed) return null;
            if (!_flush.IsCompleted) return IVhostUserTransport.WouldBlock;
            if (!descriptors.IsEmpty) _descriptors.Enqueue((_written, Duplicate(descriptors)));
            _pipe.Writer.Write(bytes);
            _written += bytes.Length;
            ValueTask<FlushResult> flush = _pipe.Writer.FlushAsync(CancellationToken.None);
            _flush = flush.IsCompletedSuccessfully ? Task.CompletedTask : flush.AsTask();
            return bytes.Length;
        }
    }

    internal ValueTask WaitWritableAsync(CancellationToken cancellationToken) => new(_flush.WaitAsync(cancellationToken));

    /// <summary>The reader gets what is under way and then the end.</summary>
    internal void CloseWriter()
    {
        lock (_gate)
        {
            if (_writerClosed) return;
            _writerClosed = true;
            _closed.TrySetResult();
            _pipe.Writer.CancelPendingFlush();
            _pipe.Writer.Complete();
        }
    }

    /// <summary>What is under way is dropped, its descriptors are closed; both a waiting reader and a waiting writer go on.</summary>
    internal void CloseReader()
    {
        lock (_gate)
        {
            if (_readerClosed) return;
            Volatile.Write(ref _readerClosed, value: true);
            _closed.TrySetResult();
            _pipe.Reader.CancelPendingRead();
            if (!_writerClosed) _pipe.Writer.CancelPendingFlush();
            while (_descriptors.TryDequeue(out (long Position, SafeFileHandle[] Handles) set))
                foreach (SafeFileHandle handle in set.Handles) handle.Dispose();
        }
    }

    private void TakeDescriptors(int count, ReceivedDescriptors descriptors)
    {
        lock (_gate)
        {
            _read += count;
            while (_descriptors.TryPeek(out (long Position, SafeFileHandle[] Handles) set) && set.Position < _read)
            {
                foreach (SafeFileHandle handle in _descriptors.Dequeue().Handles) descriptors.Add(handle);
            }
        }
    }

    private static SafeFileHandle[] Duplicate(ReadOnlySpan<SafeHandle> descriptors)
    {
        SafeFileHandle[] copies = new SafeFileHandle[descriptors.Length];
        int made = 0;
        try
        {
            for (; made < copies.Length; made++) copies[made] = Libc.Duplicate(descriptors[made]);
            return copies;
        }
        finally
        {
            for (int i = 0; made < copies.Length && i < made; i++) copies[i].Dispose();
        }
    }
}
