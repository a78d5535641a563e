using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests;

/// <summary>A block device that negotiates like a good one and then answers as a test says.</summary>
internal sealed class MisbehavingDisk(Action<DeviceVirtqueue> process, int queues = 1) : IVhostUserDevice
{
    private readonly BlockDevice _good = new(new NullStorage(1 << 20), new BlockDeviceOptions { Queues = queues });

    public int QueueCount => _good.QueueCount;

    public VirtioFeatures Features => _good.Features;

    public int ConfigLength => _good.ConfigLength;

    public VirtioBlkConfig? Config { get; init; }

    public bool TryReadConfig(uint offset, Span<byte> destination)
    {
        if (Config is not { } config)
            return _good.TryReadConfig(offset, destination);
        byte[] all = new byte[ConfigLength];
        config.Write(all);
        all.AsSpan((int)offset, destination.Length).CopyTo(destination);
        return true;
    }

    public void Process(DeviceVirtqueue queue) => process(queue);

    /// <summary>Pops one chain and answers it with this status and length.</summary>
    public static Action<DeviceVirtqueue> Answer(VirtioBlkStatus? status, LengthOf length) => queue =>
    {
        while (queue.TryPop(out DescriptorChain chain))
        {
            if (status is { } value)
                chain.Writable.Slice(chain.Writable.Length - 1).TryWrite((byte)value);
            queue.Complete(chain, length(chain));
        }
    };
}

internal delegate uint LengthOf(DescriptorChain chain);
