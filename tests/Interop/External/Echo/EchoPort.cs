using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests.External;

/// <summary>One pair of queues as our side sees it, whichever side that is.</summary>
internal abstract class EchoPort
{
    internal abstract NetQueueStatistics Sent { get; }

    internal abstract NetQueueStatistics Received { get; }

    internal abstract int Send(ReadOnlySpan<PacketBuffer> packets);

    internal abstract int Receive(Span<PacketBuffer> packets);

    internal static EchoPort[] Of(NetClient client) => [.. client.Senders.Zip(client.Receivers, (sender, receiver) => new OfFrontend(sender, receiver))];

    internal static EchoPort[] Of(NetDevice device) => [.. device.Ports.Select(port => new OfBackend(port))];

    private sealed class OfFrontend(NetSender sender, NetReceiver receiver) : EchoPort
    {
        internal override NetQueueStatistics Sent => sender.Statistics;

        internal override NetQueueStatistics Received => receiver.Statistics;

        internal override int Send(ReadOnlySpan<PacketBuffer> packets) => sender.SendBurst(packets);

        internal override int Receive(Span<PacketBuffer> packets) => receiver.ReceiveBurst(packets);
    }

    private sealed class OfBackend(NetPort port) : EchoPort
    {
        internal override NetQueueStatistics Sent => port.ToGuest;

        internal override NetQueueStatistics Received => port.FromGuest;

        internal override int Send(ReadOnlySpan<PacketBuffer> packets) => port.EnqueueBurst(packets);

        internal override int Receive(Span<PacketBuffer> packets) => port.DequeueBurst(packets);
    }
}
