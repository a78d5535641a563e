using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>What a network client cannot want, and what it does without.</summary>
public sealed class NetOptionsTests
{
    public static TheoryData<NetClientOptions, string> Impossible => new()
    {
        { new NetClientOptions { QueuePairs = 0 }, "QueuePairs 0: must be 1 to 127." },
        { new NetClientOptions { QueuePairs = 128 }, "QueuePairs 128*" },
        { new NetClientOptions { QueueSize = 1 }, "QueueSize 1: must be a power of two from 2 to 32768." },
        { new NetClientOptions { QueueSize = 100 }, "QueueSize 100*" },
        { new NetClientOptions { QueueSize = 1, RingFeatures = VirtioFeatures.RingPacked }, "QueueSize 1: must be 2 to 32768." },
        { new NetClientOptions { BufferSize = 255 }, "BufferSize 255*" },
        { new NetClientOptions { BufferSize = 65601 }, "BufferSize 65601*" },
        { new NetClientOptions { IndirectBuffers = 257 }, "IndirectBuffers 257*" },
        { new NetClientOptions { Mtu = 67 }, "Mtu 67: must be 68 to 65535." },
        { new NetClientOptions { RingFeatures = VirtioFeatures.IndirectDescriptors }, "RingFeatures*" },
        { new NetClientOptions { Offloads = VirtioNetFeatures.MultiQueue }, "Offloads 0x400000*" },
        { new NetClientOptions { RingFeatures = VirtioFeatures.RingPacked, UnwantedFeatures = VirtioFeatures.Version1 }, "RING_PACKED needs VERSION_1*" },
        { new NetClientOptions { Reconnect = new ReconnectPolicy { Delay = TimeSpan.Zero } }, "Reconnect.Delay 00:00:00*" },
    };

    [Theory]
    [MemberData(nameof(Impossible))]
    public async Task What_cannot_be_is_refused_and_the_connection_closed(NetClientOptions options, string message)
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        await using (back)
        {
            await ((Func<Task>)(() => NetClient.StartAsync(front, options).InTime())).Should().ThrowAsync<ArgumentException>().WithMessage(message);
            (await back.ReceiveAsync().InTime()).Should().BeNull();
        }
    }

    [Fact]
    public void A_packet_of_which_the_arena_has_no_room_lies_in_a_place_of_its_own()
    {
        using Bench bench = new();
        bench.Run();
    }

    private sealed class Bench : NetQueueBench
    {
        public void Run()
        {
            StartSender(packed: false, size: 128, buffer: 65536);
            PacketBuffer packet = new PacketPool(1, bufferSize: 65536).TryRent(out PacketBuffer? rented) ? rented : throw new InvalidOperationException();
            for (int turn = 0; turn < 3; turn++)
            {
                for (int i = 0; i < 70; i++)
                {
                    packet.TryCopyFrom(Bytes(60000, i)).Should().BeTrue();
                    Sender.SendBurst([packet]).Should().Be(1);
                }

                List<HandChain> got = Device.All();
                got.Should().HaveCount(70);
                for (int i = 0; i < 70; i++)
                    Get(got[i]).AsSpan(12).SequenceEqual(Bytes(60000, i)).Should().BeTrue("of packet {0}", i);
                got.ForEach(chain => Device.Use(chain, 0));
                Sender.Reclaim().Should().Be(128);
            }
        }
    }
}
