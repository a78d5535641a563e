using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>A disk that takes its time to give its configuration.</summary>
internal sealed class SlowConfigDevice(BlockDevice disk) : IVhostUserDevice
{
    private int _reads;

    public TimeSpan Delay { get; set; }

    public int Reads => Volatile.Read(ref _reads);

    public int QueueCount => disk.QueueCount;

    public ushort MaxQueueSize => disk.MaxQueueSize;

    public VirtioFeatures Features => disk.Features;

    public int ConfigLength => disk.ConfigLength;

    public bool TryReadConfig(uint offset, Span<byte> destination)
    {
        Interlocked.Increment(ref _reads);
        Thread.Sleep(Delay);
        return disk.TryReadConfig(offset, destination);
    }

    public void Configure(VirtioFeatures acknowledged) => disk.Configure(acknowledged);

    public void Process(DeviceVirtqueue queue) => disk.Process(queue);

    public void Reset() => disk.Reset();
}
