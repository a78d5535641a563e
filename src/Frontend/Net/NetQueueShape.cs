using System.Numerics;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>How packets lie in a queue's shared memory, which follows from the negotiated features.</summary>
internal sealed class NetQueueShape
{
    /// <summary>Bytes of the longest packet that a device may deliver into one buffer (virtio 1.2, 5.1.6.3.1), header included.</summary>
    internal const int BigBuffer = 65562;

    /// <summary>The longest TCP or UDP packet and its Ethernet header (virtio 1.2, 5.1.6.3.1).</summary>
    internal const int LongestPacket = 65550;

    private NetQueueShape()
    {
    }

    /// <summary>Entries of the ring.</summary>
    internal required ushort QueueSize { get; init; }

    /// <summary>Buffers of one indirect table; 0: none are used.</summary>
    internal required int IndirectBuffers { get; init; }

    /// <summary>Places for packets, or for pieces of long ones.</summary>
    internal required int Slots { get; init; }

    /// <summary>Bytes of a place, header included.</summary>
    internal required int SlotSize { get; init; }

    /// <summary>10 or 12.</summary>
    internal required int HeaderLength { get; init; }

    /// <summary>The header needs a descriptor of its own: a legacy device without ANY_LAYOUT.</summary>
    internal required bool SeparateHeader { get; init; }

    /// <summary>What the two sides may leave to each other, in the direction of this queue.</summary>
    internal required OffloadRules Offloads { get; init; }

    /// <summary>Packets may lie anywhere, since one buffer holds header and packet.</summary>
    internal required bool HasArena { get; init; }

    /// <summary>A packet may come in several buffers.</summary>
    internal required bool Mergeable { get; init; }

    /// <summary>What a device writes into the header may matter.</summary>
    internal required bool ReadsHeader { get; init; }

    /// <summary>
    /// Bytes before the places. A header that nobody reads stays in a line of its own, which stays with the device, and the packet begins on the next: one line less
    /// travels for each packet.
    /// </summary>
    internal required int Lead { get; init; }

    internal DriverVirtqueueOptions Ring => new() { Size = QueueSize, IndirectBuffers = IndirectBuffers };

    internal static NetQueueShape ForSending(NetClientOptions options, VirtioFeatures acknowledged)
    {
        ushort entries = EntriesFor(options, acknowledged);
        bool indirect = options.IndirectBuffers > 0 && (acknowledged & VirtioFeatures.IndirectDescriptors) != 0;
        return new NetQueueShape
        {
            QueueSize = entries,
            IndirectBuffers = indirect ? Math.Min(options.IndirectBuffers, entries) : 0,
            Slots = SlotsFor(entries, acknowledged),
            SlotSize = options.BufferSize,
            HeaderLength = VirtioNetHeader.SizeFor(acknowledged),
            SeparateHeader = NeedsSeparateHeader(acknowledged),
            Offloads = OffloadRules.FromDriver(acknowledged),
            Mergeable = false,
            HasArena = !NeedsSeparateHeader(acknowledged),
            ReadsHeader = false,
            Lead = 0,
        };
    }

    internal static NetQueueShape ForReceiving(NetClientOptions options, VirtioFeatures acknowledged)
    {
        const VirtioNetFeatures LongPackets = VirtioNetFeatures.GuestTso4 | VirtioNetFeatures.GuestTso6 | VirtioNetFeatures.GuestUfo
            | VirtioNetFeatures.GuestUso4 | VirtioNetFeatures.GuestUso6;
        VirtioNetFeatures net = (VirtioNetFeatures)(ulong)acknowledged;
        bool mergeable = (net & VirtioNetFeatures.MergeableBuffers) != 0;
        bool big = !mergeable && (net & LongPackets) != 0;
        ushort entries = EntriesFor(options, acknowledged);
        int headerLength = VirtioNetHeader.SizeFor(acknowledged);
        OffloadRules offloads = OffloadRules.ToDriver(acknowledged);
        bool readsHeader = mergeable || !offloads.IsEmpty;
        return new NetQueueShape
        {
            QueueSize = entries,
            IndirectBuffers = 0,
            Slots = SlotsFor(entries, acknowledged),
            SlotSize = big ? Math.Max(options.BufferSize, BigBuffer) : options.BufferSize,
            HeaderLength = headerLength,
            SeparateHeader = NeedsSeparateHeader(acknowledged),
            Offloads = offloads,
            Mergeable = mergeable,
            HasArena = false,
            ReadsHeader = readsHeader,
            Lead = readsHeader || NeedsSeparateHeader(acknowledged) ? 0 : (int)PacketSlots.Line - headerLength,
        };
    }

    /// <summary>One place for a command, and one for its answer.</summary>
    internal static NetQueueShape ForControl(NetClientOptions options, VirtioFeatures acknowledged) => new()
    {
        QueueSize = Math.Min(EntriesFor(options, acknowledged), (ushort)64),
        IndirectBuffers = 0,
        Slots = 2,
        SlotSize = NetControl.CommandSize,
        HeaderLength = VirtioNetHeader.SizeFor(acknowledged),
        SeparateHeader = false,
        Offloads = default,
        Mergeable = false,
        HasArena = false,
        ReadsHeader = false,
        Lead = 0,
    };

    /// <summary>A packed ring was wanted, and may have any size; a split one may not.</summary>
    private static ushort EntriesFor(NetClientOptions options, VirtioFeatures acknowledged) =>
        (acknowledged & VirtioFeatures.RingPacked) != 0 ? options.QueueSize : (ushort)(1 << BitOperations.Log2(options.QueueSize));

    private static bool NeedsSeparateHeader(VirtioFeatures acknowledged) =>
        (acknowledged & (VirtioFeatures.Version1 | VirtioFeatures.AnyLayout)) == 0;

    private static int SlotsFor(int queueSize, VirtioFeatures acknowledged) => NeedsSeparateHeader(acknowledged) ? queueSize / 2 : queueSize;
}
