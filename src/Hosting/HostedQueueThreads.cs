namespace Vhost.Backend.Hosting;

/// <summary>Threads that back-ends of a host share: those that ask for the same number on the same processors, polling or not, have the same ones.</summary>
internal sealed class HostedQueueThreads : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, QueueThreads> _threads = new(StringComparer.Ordinal);

    public void Dispose()
    {
        lock (_gate)
        {
            foreach (QueueThreads threads in _threads.Values)
                threads.Dispose();
            _threads.Clear();
        }
    }

    internal QueueThreads Get(int count, IReadOnlyList<int> processors, bool poll)
    {
        string key = $"{count}: {string.Join(',', processors)}: {poll}";
        lock (_gate)
        {
            if (!_threads.TryGetValue(key, out QueueThreads? threads))
                _threads[key] = threads = new QueueThreads(count, processors, poll);
            return threads;
        }
    }
}
