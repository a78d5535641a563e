using System.IO.Pipelines;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The way of a port's bytes from the guest into the application's pipe. What does not fit stays in the ring, or in the part of its buffer that was not taken yet, so that nothing
/// is lost and nothing piles up here.
/// </summary>
internal sealed class ConsoleInlet
{
    /// <summary>Taken of one buffer at a time: common ones are taken whole, and one of gigabytes does not pile up.</summary>
    internal const int MostPiece = 64 << 10;

    private const int MostPerTurn = 64;

    /// <summary>Emergency writes know no back-pressure: beyond this they are dropped.</summary>
    private const int MostEmergency = 1024;

    private readonly Lock _gate = new();
    private readonly PipeWriter _writer;
    private readonly Queue<byte> _emergency = new();

    /// <summary>Completed while the pipe takes bytes.</summary>
    private Task _room = Task.CompletedTask;

    /// <summary>The application has closed its end.</summary>
    private bool _deaf;


    private long _bytes;

    internal ConsoleInlet(PipeWriter writer) => _writer = writer;

    internal long Bytes => Volatile.Read(ref _bytes);

    /// <summary>Bytes of the ring's next buffer that were taken already. No queue runs.</summary>
    internal uint Taken { get; set; }

    private bool HasRoom => _room.IsCompleted;

    internal async Task RoomAsync(CancellationToken stop)
    {
        while (true)
        {
            Task room;
            lock (_gate)
                room = _room;
            if (room.IsCompleted)
                return;
            await room.WaitAsync(stop).ConfigureAwait(false);
        }
    }

    /// <summary>Takes what the guest has written, as far as there is room.</summary>
    /// <returns>Whether there may be more.</returns>
    internal bool Take(DeviceVirtqueue queue)
    {
        lock (_gate)
        {
            for (int turn = 0; turn < MostPerTurn; turn++)
            {
                if (!HasRoom)
                    return true;
                ChainBurst burst = queue.TakeBurst(1);
                if (burst.Count == 0)
                    return false;
                TakeOne(queue, burst);
            }
        }

        return true;
    }

    /// <summary>A character that comes without a queue.</summary>
    internal void TakeEmergency(byte character)
    {
        lock (_gate)
        {
            if (_emergency.Count < MostEmergency)
                _emergency.Enqueue(character);
            TakeEmergency();
        }
    }

    /// <summary>The ring starts afresh. No queue runs.</summary>
    internal void Reset() => Taken = 0;

    private void TakeOne(DeviceVirtqueue queue, in ChainBurst burst)
    {
        GuestBuffers buffers = burst.Readable(0);
        uint from = Math.Min(Taken, buffers.Length); // a driver may offer another buffer in the place of one that was half taken
        uint count = Math.Min(buffers.Length - from, MostPiece);
        if (count > 0 && !_deaf)
            Write(buffers.Slice(from, count));
        if (from + count < buffers.Length)
        {
            Taken = from + count;
            queue.GiveBack(1);
            return;
        }

        Taken = 0;
        queue.Complete(burst[0], 0);
    }

    private void Write(GuestBuffers buffers)
    {
        for (uint done = 0; done < buffers.Length;)
        {
            int copied = buffers.Slice(done).CopyTo(_writer.GetSpan());
            _writer.Advance(copied);
            done += (uint)copied;
        }

        Volatile.Write(ref _bytes, _bytes + buffers.Length);
        Flush();
    }

    private void Flush()
    {
        Task<bool> flush = FlushAsync();
        if (flush.IsCompleted)
        {
            _deaf |= flush.Result;
            return;
        }

        // It may end right here, on this thread, and what has come meanwhile be on its way: then the word is that of the next flush.
        Task watch = WatchAsync(flush);
        if (!watch.IsCompleted)
            _room = watch;
    }

    /// <returns>Whether the application has closed its end: with an error of its own it has too, which comes back here as an exception.</returns>
    private async Task<bool> FlushAsync()
    {
        try
        {
            return (await _writer.FlushAsync().ConfigureAwait(false)).IsCompleted;
        }
        catch (Exception)
        {
            return true;
        }
    }

    private async Task WatchAsync(Task<bool> flush)
    {
        bool deaf = await flush.ConfigureAwait(false);
        lock (_gate)
        {
            _deaf |= deaf;
            _room = Task.CompletedTask;
            TakeEmergency();
        }
    }

    private void TakeEmergency()
    {
        if (!HasRoom || _deaf || _emergency.Count == 0)
            return;
        int count = _emergency.Count;
        Span<byte> bytes = _writer.GetSpan(count);
        for (int i = 0; i < count; i++)
            bytes[i] = _emergency.Dequeue();
        _writer.Advance(count);
        Volatile.Write(ref _bytes, _bytes + count);
        Flush();
    }
}
