using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests.Iommu;

/// <summary>A network card that sends back what it gets; each packet and each free buffer is mapped for itself.</summary>
public sealed class StrictNetTests
{
    private const int Header = VirtioNetHeader.Size;

    [Theory]
    [InlineData(VirtioFeatures.EventIndex, QueueDispatch.Async)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.EventIndex, QueueDispatch.DedicatedThread)]
    [InlineData(VirtioFeatures.InOrder, QueueDispatch.DedicatedThread)]
    [InlineData(VirtioFeatures.RingPacked | VirtioFeatures.InOrder, QueueDispatch.Async)]
    public async Task Each_packet_comes_back_once_and_unchanged(VirtioFeatures ring, QueueDispatch dispatch)
    {
        const int Packets = 300;
        NetDevice device = new(null, new PacketEcho(packets: 400));
        await using StrictSession session = await StrictSession.StartAsync(device, ring, queues: 2, options: StrictSession.Options with { Dispatch = dispatch });
        ConcurrentDictionary<int, byte[]> sent = new();

        Task receiving = Task.WhenAll(Enumerable.Range(0, 10).Select(async _ =>
        {
            for (int i = 0; i < Packets / 10; i++)
            {
                byte[][] got = await session.Queues[0].RequestAsync([], [2000]);
                int number = BitConverter.ToInt32(got[0], Header);
                sent.TryRemove(number, out byte[]? packet).Should().BeTrue("packet {0} was sent, and comes once", number);
                got[0].AsSpan(Header, packet!.Length - Header).SequenceEqual(packet.AsSpan(Header)).Should().BeTrue();
            }
        }));
        await Task.WhenAll(Enumerable.Range(0, 5).Select(async worker =>
        {
            for (int i = 0; i < Packets / 5; i++)
            {
                int number = (worker * 1000) + i;
                byte[] packet = new byte[Header + 64 + (number * 37 % 1400)];
                new Random(number).NextBytes(packet.AsSpan(Header));
                BitConverter.TryWriteBytes(packet.AsSpan(Header), number);
                sent[number] = packet;
                await session.Queues[1].RequestAsync([packet], []);
            }
        }));
        await receiving.WaitAsync(TimeSpan.FromSeconds(60));

        sent.Should().BeEmpty();
        session.Backend.GetIotlbStatistics().Misses.Should().BeGreaterThan(Packets);
    }
}
