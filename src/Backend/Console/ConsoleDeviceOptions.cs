using System.Text;
using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Options of a <see cref="ConsoleDevice"/>. The default is one console.</summary>
public sealed record ConsoleDeviceOptions
{
    /// <summary>The ports, 1 to 127. Default: one console without a name.</summary>
    public IReadOnlyList<ConsolePortOptions> Ports { get; init; } = [new ConsolePortOptions()];

    /// <summary>Whether several ports, with the control queues, are offered (VIRTIO_CONSOLE_F_MULTIPORT). Null, the default: when there is more than one.</summary>
    public bool? MultiPort { get; init; }

    /// <summary>Size of the console of port 0 at the start. Null, the default: none is offered (VIRTIO_CONSOLE_F_SIZE), and none can be told later.</summary>
    public ConsoleSize? Size { get; init; }

    /// <summary>
    /// Bytes that may wait in each direction of each port, 4096 to 2^30: the guest's that the application has not read (and one buffer of the guest more, at most 64 KiB of it),
    /// and the application's that the guest has no room for. Default: 64 KiB.
    /// </summary>
    public int BufferSize { get; init; } = 64 << 10;

    /// <summary>Largest queue to accept: a power of two up to 32768.</summary>
    public ushort MaxQueueSize { get; init; } = 1024;

    /// <summary>Where log lines go; null: nowhere.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    internal bool OffersMultiPort => MultiPort ?? Ports.Count > 1;

    internal void Validate()
    {
        ArgumentNullException.ThrowIfNull(Ports);
        if (Ports.Count is < 1 or > VirtioConsoleQueues.MostPorts)
            throw new ArgumentException($"Ports: a console device has 1 to {VirtioConsoleQueues.MostPorts} ports, not {Ports.Count}.");
        if (Ports.Count > 1 && !OffersMultiPort)
            throw new ArgumentException($"MultiPort false: {Ports.Count} ports cannot be told to a driver without it.");
        if (BufferSize is < 4096 or > 1 << 30)
            throw new ArgumentException($"BufferSize {BufferSize}: must be 4096 to {1 << 30} bytes.");
        if (!ushort.IsPow2(MaxQueueSize) || MaxQueueSize > 32768)
            throw new ArgumentException($"MaxQueueSize {MaxQueueSize}: must be a power of two up to 32768.");
        foreach (ConsolePortOptions port in Ports)
        {
            if (port.Name is { } name && Encoding.UTF8.GetByteCount(name) is < 1 or > VirtioConsoleControl.MaxName)
                throw new ArgumentException($"Name '{port.Name}': must be 1 to {VirtioConsoleControl.MaxName} bytes of UTF-8.");
        }
    }
}
