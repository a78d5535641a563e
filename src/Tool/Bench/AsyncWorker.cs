using System.Diagnostics;
using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary>One request at a time through the asynchronous form; the queue depth is the number of these.</summary>
internal sealed class AsyncWorker : BenchWorker
{
    private readonly BlockClient _disk;
    private readonly BenchClock _clock;
    private readonly Memory<byte> _buffer;
    private readonly bool _write;
    private OffsetSequence _offsets;
    private Task _completion = Task.CompletedTask;

    internal AsyncWorker(BlockClient disk, BenchSettings settings, int index, BenchClock clock)
    {
        _disk = disk;
        _clock = clock;
        _buffer = new byte[settings.BlockSize];
        _write = settings.IsWrite;
        _offsets = new OffsetSequence(settings, disk.CapacityBytes, index, settings.QueueDepth * settings.Queues);
    }

    internal override Task Completion => _completion;

    internal override void Start() => _completion = Task.Run(RunAsync);

    private async Task RunAsync()
    {
        try
        {
            while (_clock.Phase != BenchPhase.Stop)
            {
                long started = Stopwatch.GetTimestamp();
                ulong offset = _offsets.Next();
                if (_write)
                    await _disk.WriteAsync(offset, _buffer);
                else
                    await _disk.ReadAsync(offset, _buffer);
                if (_clock.Phase == BenchPhase.Measure)
                    Latencies.Record(Stopwatch.GetTimestamp() - started);
                Count(1);
            }
        }
        catch
        {
            _clock.Failed.Set();
            throw;
        }
    }
}
