using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>One pair of queues, seen from either side. One call a burst.</summary>
internal abstract class NetBenchPort
{
    /// <summary>Whether the other side is there.</summary>
    internal abstract bool IsUp { get; }

    internal abstract int Send(ReadOnlySpan<PacketBuffer> packets);

    internal abstract int Receive(Span<PacketBuffer> packets);

    /// <summary>Packets that were taken and dropped, since the other side cannot be given them.</summary>
    internal abstract long Refused { get; }

    internal sealed class OfFrontend(NetSender sender, NetReceiver receiver) : NetBenchPort
    {
        internal override bool IsUp => true;

        internal override int Send(ReadOnlySpan<PacketBuffer> packets) => sender.SendBurst(packets);

        internal override int Receive(Span<PacketBuffer> packets) => receiver.ReceiveBurst(packets);

        internal override long Refused => sender.Statistics.Refused;
    }

    internal sealed class OfBackend(NetPort port) : NetBenchPort
    {
        internal override bool IsUp => port.IsStarted;

        internal override int Send(ReadOnlySpan<PacketBuffer> packets) => port.EnqueueBurst(packets);

        internal override int Receive(Span<PacketBuffer> packets) => port.DequeueBurst(packets);

        internal override long Refused => port.ToGuest.Refused;
    }
}
