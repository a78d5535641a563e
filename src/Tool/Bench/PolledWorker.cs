using System.Diagnostics;
using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary>One thread that polls one queue, bound to a processor if asked.</summary>
internal sealed class PolledWorker : BenchWorker
{
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly BlockQueue _queue;
    private readonly BenchClock _clock;
    private readonly BlockCompletion[] _completions;
    private readonly long[] _submittedAt;
    private readonly int? _processor;
    private readonly bool _write;
    private readonly int _blockSize;
    private OffsetSequence _offsets;

    internal PolledWorker(BlockQueue queue, BenchSettings settings, ulong capacity, BenchClock clock)
    {
        _queue = queue;
        _clock = clock;
        _completions = new BlockCompletion[settings.QueueDepth];
        _submittedAt = new long[settings.QueueDepth];
        _processor = settings.Processors.Count == 0 ? null : settings.Processors[queue.Index % settings.Processors.Count];
        _write = settings.IsWrite;
        _blockSize = settings.BlockSize;
        _offsets = new OffsetSequence(settings, capacity, queue.Index, settings.Queues);
    }

    internal override Task Completion => _completion.Task;

    internal override void Start() => new Thread(Run) { IsBackground = true, Name = $"bench queue {_queue.Index}" }.Start();

    private void Run()
    {
        try
        {
            if (_processor is { } processor)
                ProcessorBinding.BindThread([processor]);
            Prime();
            while (_clock.Phase != BenchPhase.Stop)
                Turn();
            while (_queue.InFlight > 0)
                _queue.Poll(_completions);
            _completion.SetResult();
        }
        catch (Exception failure)
        {
            _clock.Failed.Set(); // before the completion, after which the clock may be gone
            _completion.SetException(failure);
        }
    }

    private void Prime()
    {
        long now = Stopwatch.GetTimestamp();
        for (int slot = 0; slot < _submittedAt.Length; slot++)
            Submit(slot, now);
        _queue.Publish();
    }

    private void Turn()
    {
        int count = _queue.Poll(_completions);
        if (count == 0)
            return;

        // One look at the clock for what came back together: the device published it together as well.
        long now = Stopwatch.GetTimestamp();
        bool measuring = _clock.Phase == BenchPhase.Measure;
        for (int i = 0; i < count; i++)
        {
            BlockCompletion completion = _completions[i];
            if (!completion.IsOk)
                throw new ToolException($"A request was answered with status {completion.Status}.");
            if (measuring)
                Latencies.Record(now - _submittedAt[completion.Slot]);
            Submit(completion.Slot, now);
        }

        _queue.Publish();
        Count(count);
    }

    private void Submit(int slot, long now)
    {
        _submittedAt[slot] = now;
        ulong offset = _offsets.Next();
        bool submitted = _write ? _queue.TrySubmitWrite(slot, offset, _blockSize) : _queue.TrySubmitRead(slot, offset, _blockSize);
        if (!submitted)
            throw new ToolException("The ring has no room for the queue depth.");
    }
}
