using System.Collections.Concurrent;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>
/// A device that copies what is readable into what is writable. It can be told to keep requests, to throw and to have configuration space.
/// </summary>
internal sealed class EchoDevice(int queues = 2) : IVhostUserDevice
{
    private readonly byte[] _config = [.. Enumerable.Range(0, 64).Select(i => (byte)i)];
    private int _processed;
    private int _resets;

    public int QueueCount => queues;

    public ushort MaxQueueSize { get; init; } = 256;

    public VirtioFeatures Features { get; init; } =
        (VirtioFeatures)0x3 | VirtioFeatures.Version1 | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex;

    public int ConfigLength { get; init; } = 64;

    /// <summary>Index of a queue whose processing throws; -1: none.</summary>
    public int ThrowingQueue { get; set; } = -1;

    /// <summary>Everything but processing throws.</summary>
    public bool ThrowsOnControl { get; set; }

    /// <summary>How the queues are to be served; null: as the options say.</summary>
    public QueueDispatch? Dispatch { get; set; }

    /// <summary>Requests are detached and kept in <see cref="Kept"/>.</summary>
    public bool KeepRequests { get; set; }

    public ConcurrentQueue<DetachedChain> Kept { get; } = new();

    /// <summary>Blocks processing while it is not set.</summary>
    public ManualResetEventSlim Gate { get; } = new(initialState: true);

    public int Processed => Volatile.Read(ref _processed);

    public int Resets => Volatile.Read(ref _resets);

    /// <summary>How often the device was told its features.</summary>
    public int Configured { get; private set; }

    /// <summary>Called at the end of each turn, on the worker.</summary>
    public Action<DeviceVirtqueue>? AfterTurn { get; set; }

    public int Calls;

    public int Blocked;

    public VirtioFeatures Acknowledged { get; private set; }

    public bool TryReadConfig(uint offset, Span<byte> destination)
    {
        ThrowIfTold();
        _config.AsSpan((int)offset, destination.Length).CopyTo(destination);
        return true;
    }

    public bool TryWriteConfig(uint offset, ReadOnlySpan<byte> source)
    {
        ThrowIfTold();
        // One writable field, as the write cache bit of a disk.
        if (offset != 32 || source.Length != 1)
            return false;
        source.CopyTo(_config.AsSpan((int)offset));
        return true;
    }

    public bool TryRestoreConfig(uint offset, ReadOnlySpan<byte> source)
    {
        source.CopyTo(_config.AsSpan((int)offset));
        return true;
    }

    public void Configure(VirtioFeatures acknowledged)
    {
        ThrowIfTold();
        Configured++;
        Acknowledged = acknowledged;
    }

    public QueueDispatch DispatchOf(int queue, QueueDispatch chosen) => Dispatch ?? chosen;

    public void Process(DeviceVirtqueue queue)
    {
        Interlocked.Increment(ref Calls);
        if (queue.Index == ThrowingQueue)
            throw new InvalidOperationException("the test device was told to fail");
        if (!Gate.Wait(0))
        {
            Interlocked.Increment(ref Blocked);
            Gate.Wait();
        }

        while (queue.TryPop(out DescriptorChain chain))
        {
            Interlocked.Increment(ref _processed);
            if (KeepRequests)
            {
                Kept.Enqueue(chain.Detach());
                continue;
            }

            uint length = Math.Min(chain.Readable.Length, chain.Writable.Length);
            byte[] bytes = new byte[length];
            chain.Readable.Slice(0, length).CopyTo(bytes);
            chain.Writable.Slice(0, length).CopyFrom(bytes);
            queue.Complete(chain, length);
        }

        AfterTurn?.Invoke(queue);
    }

    public void Reset() => Interlocked.Increment(ref _resets);

    private void ThrowIfTold()
    {
        if (ThrowsOnControl)
            throw new InvalidOperationException("the test device was told to fail");
    }
}
