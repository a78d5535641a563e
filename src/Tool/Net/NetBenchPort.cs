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

    /// <summary>Takes packets where they lie; each must be released.</summary>
    internal abstract int Lend(Span<LentPacket> packets);

    /// <summary>Builds numbered packets where the other side reads them.</summary>
    /// <param name="number">Of the first one.</param>
    /// <param name="count">How many.</param>
    /// <param name="size">Bytes of each.</param>
    /// <returns>How many were sent.</returns>
    internal abstract int SendInPlace(ulong number, int count, int size);

    /// <summary>Packets that were taken and dropped, since the other side cannot be given them.</summary>
    internal abstract long Refused { get; }

    internal sealed class OfFrontend(NetSender sender, NetReceiver receiver) : NetBenchPort
    {
        private readonly NumberedPlaces _places = new(sender);

        internal override bool IsUp => true;

        internal override int Send(ReadOnlySpan<PacketBuffer> packets) => sender.SendBurst(packets);

        internal override int Receive(Span<PacketBuffer> packets) => receiver.ReceiveBurst(packets);

        internal override int Lend(Span<LentPacket> packets) => receiver.LendBurst(packets);

        internal override int SendInPlace(ulong number, int count, int size) => _places.Send(number, count, size);

        internal override long Refused => sender.Statistics.Refused;
    }

    internal sealed class OfBackend(NetPort port) : NetBenchPort
    {
        internal override bool IsUp => port.IsStarted;

        internal override int Send(ReadOnlySpan<PacketBuffer> packets) => port.EnqueueBurst(packets);

        internal override int Receive(Span<PacketBuffer> packets) => port.DequeueBurst(packets);

        internal override int Lend(Span<LentPacket> packets) => port.LendBurst(packets);

        /// <summary>The places are the driver's.</summary>
        internal override int SendInPlace(ulong number, int count, int size) => throw new NotSupportedException();

        internal override long Refused => port.ToGuest.Refused;
    }
}
