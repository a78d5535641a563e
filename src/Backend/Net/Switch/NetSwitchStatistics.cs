using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>What a <see cref="NetSwitch"/> has done; a snapshot.</summary>
public sealed record NetSwitchStatistics
{
    /// <summary>Addresses that are known at present.</summary>
    public int Stations { get; init; }

    /// <summary>Addresses that were learned, each time anew.</summary>
    public long Learned { get; init; }

    /// <summary>Known addresses that came up at another port.</summary>
    public long Moved { get; init; }

    /// <summary>Addresses that were forgotten for the sake of newer ones of the same port.</summary>
    public long Replaced { get; init; }

    /// <summary>Addresses that were found too old.</summary>
    public long Expired { get; init; }

    /// <summary>Packets to one port.</summary>
    public long Forwarded { get; init; }

    /// <summary>Packets to all ports but their own: to several stations, or to one that is not known.</summary>
    public long Flooded { get; init; }

    /// <summary>The ports, by index.</summary>
    public IReadOnlyList<NetSwitchPortStatistics> Ports { get; init; } = [];
}

/// <summary>What one port of a <see cref="NetSwitch"/> has done; a snapshot.</summary>
public sealed record NetSwitchPortStatistics
{
    /// <summary>Packets from the port, of all its queues.</summary>
    public NetQueueStatistics FromPort { get; init; }

    /// <summary>Packets to the port, of all its queues.</summary>
    public NetQueueStatistics ToPort { get; init; }

    /// <summary>Dropped from the port: shorter than an Ethernet header.</summary>
    public long Runts { get; init; }

    /// <summary>
    /// Dropped from the port: to an address of the link alone, 01:80:c2:00:00:01 to 0f, which no switch passes on (IEEE 802.1D, 7.12.6). What bridges tell each other, to 00, passes: a switch
    /// without a spanning tree is a piece of cable to them.
    /// </summary>
    public long LinkLocal { get; init; }

    /// <summary>Dropped from the port: to a station at this very port.</summary>
    public long SamePort { get; init; }

    /// <summary>Dropped to the port: nobody is there, or the queue is stopped, disabled or broken.</summary>
    public long NotServed { get; init; }

    /// <summary>Dropped to the port: as many as <see cref="NetSwitchOptions.QueueBuffers"/> wait already, or of one of several senders more than would be left free.</summary>
    public long QueueFull { get; init; }

    /// <summary>Dropped to the port: its driver does not want them (<see cref="NetDevice.ReceiveFilter"/>).</summary>
    public long Unwanted { get; init; }

    /// <summary>Long packets to the port that were cut into segments for it.</summary>
    public long Segmented { get; init; }

    /// <summary>Dropped to the port: long packets that cannot be cut, since they are no TCP packets or would make more than 1366 segments.</summary>
    public long Unsegmentable { get; init; }

    /// <summary>Packets in the port's <see cref="NetSwitchPortOptions.CaptureFile"/>.</summary>
    public long Captured { get; init; }

    /// <summary>Packets that are not in it, since the file was too slow or failed.</summary>
    public long NotCaptured { get; init; }

    /// <summary>Packets that wait for the port.</summary>
    public int Waiting { get; init; }
}
