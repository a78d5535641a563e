using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>A device that notes what the thread of its queue has allocated, between calls too: exact, whatever else the process does.</summary>
internal sealed class AllocationWatch(IVhostUserDevice device) : IVhostUserDevice
{
    private long _allocated;
    private int _threads;
    private int _thread;

    public int QueueCount => device.QueueCount;

    public ushort MaxQueueSize => device.MaxQueueSize;

    public VirtioFeatures Features => device.Features;

    public int ConfigLength => device.ConfigLength;

    /// <summary>Bytes allocated by the worker's thread, as of its last call.</summary>
    public long Allocated => Volatile.Read(ref _allocated);

    /// <summary>Threads that have served the queue: the number means something only while it is 1.</summary>
    public int Threads => Volatile.Read(ref _threads);

    public bool TryReadConfig(uint offset, Span<byte> destination) => device.TryReadConfig(offset, destination);

    public void Configure(VirtioFeatures acknowledged) => device.Configure(acknowledged);

    public void Process(DeviceVirtqueue queue)
    {
        if (_thread != Environment.CurrentManagedThreadId)
        {
            _thread = Environment.CurrentManagedThreadId;
            Volatile.Write(ref _threads, _threads + 1);
        }

        device.Process(queue);
        Volatile.Write(ref _allocated, GC.GetAllocatedBytesForCurrentThread());
    }
}
