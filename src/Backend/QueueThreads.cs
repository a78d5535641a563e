using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// A chosen number of threads that serve the queues of any number of back-ends (<see cref="QueueDispatch.SharedThreads"/>, <see cref="VhostUserBackendOptions.Threads"/>): many devices, few processors.
/// A device that does not return from <see cref="IVhostUserDevice.Process"/> holds up the queues that share its thread.
/// </summary>
/// <example>
/// <code>
/// using QueueThreads threads = new(2, processors: [2, 3]);
/// VhostUserBackendOptions options = new() { Dispatch = QueueDispatch.SharedThreads, Threads = threads };
/// </code>
/// </example>
/// <remarks>All members may be used from any thread.</remarks>
public sealed class QueueThreads : IDisposable
{
    private readonly QueueThread[] _threads;
    private volatile bool _disposed;

    /// <summary>Starts the threads; they sleep until a queue comes.</summary>
    /// <param name="count">How many, 1 to 1024.</param>
    /// <param name="processors">Processors to run on, thread <c>i</c> on <c>processors[i % processors.Count]</c>; null or empty: any.</param>
    /// <param name="poll">Whether the threads look at rings without pause as long as one of their queues is served, and have drivers not kick. Costs a processor each.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number of threads is out of range.</exception>
    /// <exception cref="ArgumentException">This process may not run on one of the processors.</exception>
    public QueueThreads(int count, IReadOnlyList<int>? processors = null, bool poll = false)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, 1024);
        SupportedHost.Require();
        ProcessorCheck.Require(processors ?? [], nameof(processors));
        _threads = new QueueThread[count];
        for (int i = 0; i < count; i++)
        {
            int? processor = processors is { Count: > 0 } ? processors[i % processors.Count] : null;
            _threads[i] = new QueueThread(poll, processor, static _ => { });
            _threads[i].Start($"vhost queues {i}");
        }
    }

    /// <summary>Processors that threads of this process can be bound to, whatever the calling thread is bound to; empty when the kernel does not say. Read anew each time.</summary>
    public static IReadOnlyList<int> AllowedProcessors => ProcessorCheck.Allowed();

    /// <summary>How many threads there are.</summary>
    public int Count => _threads.Length;

    /// <summary>Queues that each thread serves at present.</summary>
    public IReadOnlyList<int> QueuesPerThread => Array.ConvertAll(_threads, static thread => thread.Queues);

    /// <summary>Takes no queue any more. Each thread ends once the queues that it serves have stopped; dispose of their back-ends first to have that at once.</summary>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        foreach (QueueThread thread in _threads)
            thread.EndWhenEmpty();
    }

    /// <summary>The chosen thread; without a choice one that has the fewest queues.</summary>
    internal QueueThread Choose(int? chosen)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (chosen is { } index)
            return _threads[index];
        return _threads.MinBy(static thread => thread.Queues)!;
    }
}
