using System.Buffers;
using System.IO.Pipelines;

namespace Vhost.Backend;

/// <summary>The way of a port's bytes from the application's pipe to the guest. A byte leaves the pipe when a buffer of the guest has it.</summary>
internal sealed class ConsoleOutlet
{
    private const int MostPerTurn = 64;

    private readonly PipeReader _reader;
    private long _bytes;

    internal ConsoleOutlet(PipeReader reader) => _reader = reader;

    internal long Bytes => Volatile.Read(ref _bytes);

    /// <summary>Waits for bytes, and gives the guest as many as it has room for.</summary>
    /// <param name="queue">The guest's receive queue.</param>
    /// <param name="isWanted">Whether the guest still wants them, now that there are some.</param>
    /// <param name="stop">Ends the wait.</param>
    /// <returns>False when the application will send no more.</returns>
    internal async Task<bool> GiveAsync(ApplicationQueue queue, Func<bool> isWanted, CancellationToken stop)
    {
        ReadResult read = await _reader.ReadAsync(stop).ConfigureAwait(false);
        SequencePosition given = read.Buffer.Start;
        if (!isWanted())
        {
            _reader.AdvanceTo(given);
            return true;
        }

        bool hasRoom = false;
        bool isAll = false;
        try
        {
            if (queue.TryEnter(out DeviceVirtqueue? ring))
            {
                try
                {
                    given = Give(ring, read.Buffer, out hasRoom, out isAll);
                }
                finally
                {
                    queue.Exit();
                }
            }
        }
        finally
        {
            _reader.AdvanceTo(given);
        }

        if (isAll || (read.IsCompleted && read.Buffer.IsEmpty))
            return !read.IsCompleted;
        if (hasRoom)
            await Task.Yield();
        else
            await queue.WaitAsync(stop).ConfigureAwait(false);
        return true;
    }

    private SequencePosition Give(DeviceVirtqueue queue, ReadOnlySequence<byte> bytes, out bool hasRoom, out bool isAll)
    {
        hasRoom = true;
        for (int turn = 0; turn < MostPerTurn && !bytes.IsEmpty && hasRoom; turn++)
        {
            hasRoom = queue.TryPop(out DescriptorChain chain);
            if (!hasRoom)
                break;
            ReadOnlySequence<byte> piece = bytes.Slice(0, Math.Min(bytes.Length, chain.Writable.Length));
            uint count = 0;
            foreach (ReadOnlyMemory<byte> segment in piece)
                count += (uint)chain.Writable.Slice(count).CopyFrom(segment.Span);
            bytes = bytes.Slice(piece.End);
            queue.Complete(chain, count);
            Volatile.Write(ref _bytes, _bytes + count);
        }

        isAll = bytes.IsEmpty;
        return bytes.Start;
    }
}
