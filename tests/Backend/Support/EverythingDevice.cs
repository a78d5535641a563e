using System.IO.Pipelines;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend.Tests;

/// <summary>An echo that is every kind of device at once, so that there is no message which it has no use for.</summary>
internal sealed class EverythingDevice
    : IVhostUserNetDevice, ICryptoSessionDevice, IGpuDevice, ISharedObjectDevice, ISharedMemoryDevice, ISuspendableDevice, IMigratableDevice, IApplicationServedDevice
{
    /// <summary>VIRTIO_NET_F_MTU.</summary>
    public const VirtioFeatures NetMtu = (VirtioFeatures)(1UL << 3);

    /// <summary>The one object that it has; its descriptor is that of a new eventfd each time.</summary>
    public static Guid Object { get; } = new("6f2b0a52-51a5-4b43-9d3c-0a2f6a1f7d10");

    /// <summary>What serves the queues.</summary>
    public EchoDevice Echo { get; } = new() { Features = new EchoDevice().Features | NetMtu };

    public int QueueCount => Echo.QueueCount;

    public ushort MaxQueueSize => Echo.MaxQueueSize;

    public VirtioFeatures Features => Echo.Features;

    public int ConfigLength => Echo.ConfigLength;

    public int QueuePairs => 1;

    public IReadOnlyList<ulong> SharedMemorySizes { get; } = [1 << 20];

    public bool TryReadConfig(uint offset, Span<byte> destination) => Echo.TryReadConfig(offset, destination);

    public bool TryWriteConfig(uint offset, ReadOnlySpan<byte> source) => Echo.TryWriteConfig(offset, source);

    public void Configure(VirtioFeatures acknowledged) => Echo.Configure(acknowledged);

    public void Process(DeviceVirtqueue queue) => Echo.Process(queue);

    public void Reset() => Echo.Reset();

    public bool TrySetMtu(ulong mtu) => true;

    public void AnnounceAddress(MacAddress address)
    {
    }

    public bool TryCreateSession(ulong id, in VhostUserCryptoSession session) => true;

    public void CloseSession(ulong id)
    {
    }

    public void UseDisplays(VhostUserGpuChannel channel)
    {
    }

    public SafeFileHandle? OpenSharedObject(Guid id) => id == Object ? new EventNotifier().Descriptor : null;

    public void SuspendQueue(int queue)
    {
    }

    public void QueueStarted(ApplicationQueue queue)
    {
    }

    public async ValueTask SaveStateAsync(PipeWriter destination, CancellationToken cancellationToken) => await destination.WriteAsync(new byte[] { 1, 2, 3 }, cancellationToken);

    public async ValueTask LoadStateAsync(PipeReader source, CancellationToken cancellationToken)
    {
        ReadResult read = await source.ReadAsync(cancellationToken);
        while (!read.IsCompleted)
        {
            source.AdvanceTo(read.Buffer.End);
            read = await source.ReadAsync(cancellationToken);
        }

        source.AdvanceTo(read.Buffer.End);
    }
}
