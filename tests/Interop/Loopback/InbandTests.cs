using System.Collections.Concurrent;
using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Loopback;

/// <summary>A disk of which the two halves share memory and no eventfd.</summary>
public sealed class InbandTests
{
    private const int Size = 1 << 20;

    [Theory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    [InlineData(QueueDispatch.BusyPoll)]
    [Shows(Counterpart.Loopback, VhostUserRequest.VringKick, VhostUserBackendRequest.VringCall, VhostUserProtocolFeatures.InbandNotifications)]
    public async Task Everything_written_is_read_back_and_no_descriptor_of_a_ring_was_sent(QueueDispatch dispatch)
    {
        using MemoryStorage storage = new(Size);
        SeenMessages seen = new();
        VhostUserBackendOptions options = new()
        {
            Dispatch = dispatch,
            AdditionalProtocolFeatures = VhostUserProtocolFeatures.InbandNotifications,
            MessageHook = seen,
        };
        await using BlockLoopback loopback = await BlockLoopback.StartAsync(
            new BlockDevice(storage, new BlockDeviceOptions { Queues = 2 }), new BlockClientOptions { Queues = 2, InbandNotifications = true }, options);
        byte[] data = new byte[Size];
        new Random(14).NextBytes(data);

        await Task.WhenAll(Enumerable.Range(0, 64).Select(i => loopback.Client.WriteAsync((ulong)(i * (Size / 64)), data.AsMemory(i * (Size / 64), Size / 64)).AsTask())).InTime();
        await loopback.Client.FlushAsync().InTime();
        byte[] read = new byte[Size];
        for (int at = 0; at < Size; at += Size / 16)
            await loopback.Client.ReadAsync((ulong)at, read.AsMemory(at, Size / 16)).InTime();

        read.AsSpan().SequenceEqual(data).Should().BeTrue();
        seen.Codes.Should().Contain(VhostUserRequest.VringKick).And.NotContain([VhostUserRequest.SetVringKick, VhostUserRequest.SetVringCall, VhostUserRequest.SetVringErr]);
        loopback.Client.Frontend.Summary.UsedProtocolFeatures.Should().HaveFlag(VhostUserProtocolFeatures.InbandNotifications);
    }

    [Fact]
    [Shows(Counterpart.Loopback, VhostUserBackendRequest.VringErr)]
    public async Task A_ring_that_its_device_breaks_is_told_by_message_to_whoever_has_its_error_notifier()
    {
        SeenMessages seen = new();
        VhostUserBackendOptions inband = new() { AdditionalProtocolFeatures = VhostUserProtocolFeatures.InbandNotifications, MessageHook = seen };
        await using EchoPair pair = await EchoPair.StartAsync(VhostUserProtocolFeatures.InbandNotifications, inband);
        await pair.EchoAsync(1);
        pair.Error.TryConsume().Should().BeFalse();
        pair.Device.Throws = true;

        pair.Submit(2);

        await pair.Error.WaitAsync().InTime();
        pair.Queue.State.Should().Be(QueueState.Broken);
        seen.Codes.Should().NotContain(VhostUserRequest.SetVringErr, "no descriptor was sent");
    }

    [Fact]
    public async Task A_client_goes_on_with_the_next_back_end_by_messages_too()
    {
        using TempFolder folder = new();
        using MemoryStorage storage = new(Size);
        string socket = folder.File("s");
        VhostUserBackendOptions inband = new() { AdditionalProtocolFeatures = VhostUserProtocolFeatures.InbandNotifications };
        BackendLife life = new(socket, new BlockDevice(storage), inband);
        BlockClientOptions options = new() { InbandNotifications = true, Reconnect = new ReconnectPolicy { Delay = TimeSpan.FromMilliseconds(5) }, Connect = new() { RetryFor = TimeSpan.FromSeconds(5) } };
        await using BlockClient client = await BlockClient.ConnectAsync(socket, options);
        using SemaphoreSlim reconnected = new(0);
        client.Reconnected += (_, _) => reconnected.Release();
        byte[] data = new byte[4096];
        for (int round = 1; round <= 3; round++)
        {
            data.AsSpan().Fill((byte)round);
            await client.WriteAsync(0, data).InTime();
            await life.DisposeAsync();
            life = new BackendLife(socket, new BlockDevice(storage), inband);
            byte[] read = new byte[4096];
            await client.ReadAsync(0, read).InTime();
            read.Should().Equal(data);
            (await reconnected.WaitAsync(Eventually.Deadline)).Should().BeTrue();
            client.Reconnections.Should().Be(round);
        }

        await life.DisposeAsync();
    }

    [Fact]
    public async Task A_back_end_that_was_not_asked_to_offer_it_is_refused_by_name()
    {
        using MemoryStorage storage = new(Size);
        Func<Task> start = () => BlockLoopback.StartAsync(storage, new BlockClientOptions { InbandNotifications = true });
        (await start.Should().ThrowAsync<VhostUserFeatureException>()).Which.MissingProtocol.Should().Be(VhostUserProtocolFeatures.InbandNotifications);
    }

    private sealed class SeenMessages : IVhostUserMessageHook
    {
        public ConcurrentQueue<VhostUserRequest> Codes { get; } = new();

        public MessageDecision Before(VhostUserMessage message, NegotiatedState state)
        {
            Codes.Enqueue((VhostUserRequest)message.Header.Request);
            return MessageDecision.NotHandled;
        }
    }
}
