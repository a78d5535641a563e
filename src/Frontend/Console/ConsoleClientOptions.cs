using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>What a <see cref="ConsoleClient"/> wants. The default is one port, on split rings.</summary>
public sealed record ConsoleClientOptions
{
    private const VirtioFeatures ChoosableRingFeatures = VirtioFeatures.EventIndex | VirtioFeatures.InOrder | VirtioFeatures.RingPacked;

    /// <summary>Features of the rings to use where the back-end offers them: EVENT_IDX, IN_ORDER, RING_PACKED. Default: EVENT_IDX.</summary>
    public VirtioFeatures RingFeatures { get; init; } = VirtioFeatures.EventIndex;

    /// <summary>Ports to use at most, 1 to 127; more than one only where the device has several (VIRTIO_CONSOLE_F_MULTIPORT).</summary>
    public int Ports { get; init; } = 1;

    /// <summary>Whether to use the control queues where the device has them: names, sizes, who has opened what. Needed for more than one port. Default: yes.</summary>
    public bool MultiPort { get; init; } = true;

    /// <summary>Entries of each ring, each with a buffer: a power of two from 2 to 32768. Default: 64.</summary>
    public ushort QueueSize { get; init; } = 64;

    /// <summary>Bytes of each buffer, 256 to 65536. Default: 4096.</summary>
    public int BufferSize { get; init; } = 4096;

    /// <summary>Bytes that may wait in the pipes of each port for the application to read, and for the device to take: 4096 to 2^30. Default: 64 KiB.</summary>
    public int PipeSize { get; init; } = 64 << 10;

    /// <summary>How long a reply on the socket may take; see <see cref="VhostUserFrontendOptions.ReplyTimeout"/>.</summary>
    public TimeSpan ReplyTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How <see cref="ConsoleClient.ConnectAsync"/> connects (retry). Null: one attempt.</summary>
    public VhostUserConnectOptions? Connect { get; init; }

    /// <summary>Where logs go. Null: nowhere.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>The clock of the time-outs on the socket.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    internal void Validate()
    {
        OptionCheck.Require(Ports is >= 1 and <= VirtioConsoleQueues.MostPorts, nameof(Ports), Ports, "1 to 127");
        OptionCheck.Require(Ports == 1 || MultiPort, nameof(Ports), Ports, "1 without MultiPort");
        OptionCheck.Require(QueueSize is >= 2 and <= VringLimits.MaxSize && int.IsPow2(QueueSize), nameof(QueueSize), QueueSize, "a power of two from 2 to 32768");
        OptionCheck.Require(BufferSize is >= 256 and <= 65536, nameof(BufferSize), BufferSize, "256 to 65536");
        OptionCheck.Require(PipeSize is >= 4096 and <= 1 << 30, nameof(PipeSize), PipeSize, "4096 to 1073741824");
        if ((RingFeatures & ~ChoosableRingFeatures) != 0)
            throw new ArgumentException("RingFeatures: only EVENT_IDX, IN_ORDER and RING_PACKED can be chosen.");
    }

    internal VhostUserFrontendOptions ForSession()
    {
        VirtioConsoleFeatures console = VirtioConsoleFeatures.Size | VirtioConsoleFeatures.EmergencyWrite | (MultiPort ? VirtioConsoleFeatures.MultiPort : 0);
        return new VhostUserFrontendOptions
        {
            WantedFeatures = VirtioFeatures.Version1 | RingFeatures | (VirtioFeatures)(ulong)console,
            Queues = VirtioConsoleQueues.Count(Ports, MultiPort),
            QueuesWithoutMultiQueue = VirtioConsoleQueues.Count(1, multiPort: false),
            FeatureName = FeatureNames.OfConsoleBit,
            ReplyTimeout = ReplyTimeout,
            Connect = Connect,
            LoggerFactory = LoggerFactory,
            TimeProvider = TimeProvider,
        };
    }
}
