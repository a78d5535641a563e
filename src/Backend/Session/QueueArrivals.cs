using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What the requests of one queue wait for, in whichever of its lives: a queue that is stopped and started again while it waits does not wait twice.</summary>
internal sealed class QueueArrivals(PageThreads threads) : IMemoryArrivals
{
    private readonly Lock _gate = new();
    private Task<int>? _pending;
    private Action? _arrived;

    public Task<int> BringInAsync(in AbsentRange range, Action arrived)
    {
        lock (_gate)
        {
            _arrived = arrived;
            if (_pending is { IsCompleted: false })
                return _pending;
            _pending = threads.BringInAsync(range);
            _ = TellAsync(_pending);
            return _pending;
        }
    }

    private async Task TellAsync(Task<int> pending)
    {
        await pending.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        Action? arrived;
        lock (_gate)
            arrived = _arrived;
        arrived?.Invoke();
    }
}
