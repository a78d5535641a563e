using System.Runtime.CompilerServices;

namespace Vhost.Protocol;

/// <summary>
/// Counts on the thread that serves a queue; any thread may take a snapshot. A burst costs a handful of additions: the size classes are looked at packet by
/// packet only when the burst has packets of different classes, the addresses only when one of them has the group bit.
/// </summary>
internal sealed class NetQueueCounters
{
    private const int Classes = 8;

    private readonly long[] _sizes = new long[Classes];
    private long _packets;
    private long _bytes;
    private long _multicast;
    private long _broadcast;

    internal long Notifications;
    internal long SuppressedNotifications;
    internal long Errors;
    internal long NoBuffers;
    internal long Refused;
    internal long Lost;

    /// <summary>Counts packets and bytes alone.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal void Count(int packets, long bytes)
    {
        _packets += packets;
        _bytes += bytes;
    }

    /// <summary>Counts the sizes and the kinds of address of a burst.</summary>
    internal void Classify(ReadOnlySpan<PacketBuffer> packets)
    {
        int shortest = int.MaxValue;
        int longest = 0;
        int group = 0;
        foreach (PacketBuffer packet in packets)
        {
            int length = packet.IsLinear ? packet.Length : packet.PacketLength;
            shortest = Math.Min(shortest, length);
            longest = Math.Max(longest, length);
            group |= packet.Length > 0 ? packet.Data[0] : 0;
        }

        if (packets.IsEmpty)
            return;
        int common = ClassOf(shortest);
        if (common == ClassOf(longest))
            _sizes[common] += packets.Length;
        else
            CountSizes(packets);
        if ((group & 1) != 0)
            CountGroups(packets);
    }

    /// <summary>Counts the size and the kind of address of one packet.</summary>
    internal void Classify(int length, MacAddress destination)
    {
        _sizes[ClassOf(length)]++;
        if (destination.IsMulticast && length >= MacAddress.Size)
            CountGroup(destination);
    }

    /// <summary>Counts the size and the kind of address of one packet that is lent.</summary>
    internal void Classify(in LentPacket packet)
    {
        Span<byte> start = stackalloc byte[MacAddress.Size];
        packet.CopyTo(start);
        MacAddress.TryRead(start, out MacAddress destination);
        Classify(packet.Length, destination);
    }

    internal NetQueueStatistics Snapshot() => new()
    {
        Packets = Volatile.Read(ref _packets),
        Bytes = Volatile.Read(ref _bytes),
        Multicast = Volatile.Read(ref _multicast),
        Broadcast = Volatile.Read(ref _broadcast),
        Undersize = Volatile.Read(ref _sizes[0]),
        Size64 = Volatile.Read(ref _sizes[1]),
        Size65To127 = Volatile.Read(ref _sizes[2]),
        Size128To255 = Volatile.Read(ref _sizes[3]),
        Size256To511 = Volatile.Read(ref _sizes[4]),
        Size512To1023 = Volatile.Read(ref _sizes[5]),
        Size1024To1518 = Volatile.Read(ref _sizes[6]),
        Size1519AndMore = Volatile.Read(ref _sizes[7]),
        Notifications = Volatile.Read(ref Notifications),
        SuppressedNotifications = Volatile.Read(ref SuppressedNotifications),
        Errors = Volatile.Read(ref Errors),
        NoBuffers = Volatile.Read(ref NoBuffers),
        Refused = Volatile.Read(ref Refused),
        Lost = Volatile.Read(ref Lost),
    };

    /// <summary>What several queues have counted.</summary>
    internal static NetQueueStatistics Sum(IEnumerable<NetQueueStatistics> queues) => queues.Aggregate(static (one, other) => new NetQueueStatistics
    {
        Packets = one.Packets + other.Packets,
        Bytes = one.Bytes + other.Bytes,
        Multicast = one.Multicast + other.Multicast,
        Broadcast = one.Broadcast + other.Broadcast,
        Undersize = one.Undersize + other.Undersize,
        Size64 = one.Size64 + other.Size64,
        Size65To127 = one.Size65To127 + other.Size65To127,
        Size128To255 = one.Size128To255 + other.Size128To255,
        Size256To511 = one.Size256To511 + other.Size256To511,
        Size512To1023 = one.Size512To1023 + other.Size512To1023,
        Size1024To1518 = one.Size1024To1518 + other.Size1024To1518,
        Size1519AndMore = one.Size1519AndMore + other.Size1519AndMore,
        Notifications = one.Notifications + other.Notifications,
        SuppressedNotifications = one.SuppressedNotifications + other.SuppressedNotifications,
        Errors = one.Errors + other.Errors,
        NoBuffers = one.NoBuffers + other.NoBuffers,
        Refused = one.Refused + other.Refused,
        Lost = one.Lost + other.Lost,
        InFlight = one.InFlight + other.InFlight,
    });

    private static int ClassOf(int length) => length switch
    {
        < 64 => 0,
        64 => 1,
        < 128 => 2,
        < 256 => 3,
        < 512 => 4,
        < 1024 => 5,
        <= 1518 => 6,
        _ => 7,
    };

    private void CountSizes(ReadOnlySpan<PacketBuffer> packets)
    {
        foreach (PacketBuffer packet in packets)
            _sizes[ClassOf(packet.PacketLength)]++;
    }

    private void CountGroups(ReadOnlySpan<PacketBuffer> packets)
    {
        foreach (PacketBuffer packet in packets)
        {
            if (!MacAddress.TryRead(packet.Data, out MacAddress destination) || !destination.IsMulticast)
                continue;
            CountGroup(destination);
        }
    }

    private void CountGroup(MacAddress destination)
    {
        if (destination == MacAddress.Broadcast)
            _broadcast++;
        else
            _multicast++;
    }
}
