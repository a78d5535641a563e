using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>What a network client says besides its rings: the MTU before they start, and its address after it has moved.</summary>
[Collection(ProcessCounts.Name)]
public sealed class NetMessageTests : CountedTests
{
    private const VirtioFeatures Mtu = (VirtioFeatures)(ulong)VirtioNetFeatures.Mtu;
    private const VirtioFeatures Mac = (VirtioFeatures)(ulong)VirtioNetFeatures.Mac;
    private const VhostUserProtocolFeatures Messages = VhostUserProtocolFeatures.NetMtu | VhostUserProtocolFeatures.Rarp;

    private static readonly byte[] _config = [0x52, 0x54, 0x00, 0x0a, 0x0b, 0x0c, 1, 0, 1, 0, 0xdc, 0x05, .. new byte[12]];
    private static readonly NetClientOptions _client = new() { Mtu = 1400, QueueSize = 4 };

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.NetSetMtu, VhostUserProtocolFeatures.NetMtu)]
    public async Task The_MTU_is_said_before_a_ring_starts()
    {
        await using Talk talk = await Talk.StartAsync(Offer(Mtu, Messages));
        talk.Said.Should().ContainInOrder("SET_FEATURES 0x140000008 !", "NET_SET_MTU 1400 !", "SET_VRING_NUM 0,4 !");
        talk.Said.Should().ContainSingle(line => line.StartsWith("NET_SET_MTU", StringComparison.Ordinal));
        talk.Backend.Last(VhostUserRequest.NetSetMtu).Payload.Should().Equal(0x78, 0x05, 0, 0, 0, 0, 0, 0);
    }

    [Theory]
    [InlineData(VirtioFeatures.None, Messages, 1400)]
    [InlineData(Mtu, VhostUserProtocolFeatures.Rarp, 1400)]
    [InlineData(Mtu, Messages, null)]
    public async Task No_MTU_is_said_where_the_device_has_none_or_cannot_be_told_or_none_is_wanted(VirtioFeatures features, VhostUserProtocolFeatures protocol, int? mtu)
    {
        await using Talk talk = await Talk.StartAsync(Offer(features, protocol), _client with { Mtu = mtu });
        talk.Said.Should().Contain("SET_VRING_NUM 0,4 !").And.NotContain(line => line.StartsWith("NET_SET_MTU", StringComparison.Ordinal));
    }

    [Fact]
    public async Task F20_a_device_that_refuses_the_MTU_is_an_error_by_name_and_no_ring_starts()
    {
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        await using ScriptedBackend backend = new(back, Offer(Mtu, Messages), static (request, _) => request.Code == VhostUserRequest.NetSetMtu ? Refusal(request) : null);
        Func<Task> starting = () => NetClient.StartAsync(front, _client).InTime();
        (await starting.Should().ThrowAsync<VhostUserRejectedException>().WithMessage("VHOST_USER_NET_SET_MTU*7*")).Which.ReplyCode.Should().Be(7);
        await backend.Ended.InTime();
        backend.Transcript.Should().NotContain(line => line.StartsWith("SET_VRING", StringComparison.Ordinal));
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SendRarp, VhostUserProtocolFeatures.Rarp)]
    public async Task The_address_is_told_in_the_order_of_its_bytes()
    {
        await using Talk talk = await Talk.StartAsync(Offer(Mac, Messages));
        (await talk.Client.SendRarpAsync().InTime()).Should().BeTrue();
        talk.Said[^1].Should().Be("SEND_RARP 0xc0b0a005452 !");
        talk.Backend.Last(VhostUserRequest.SendRarp).Payload.Should().Equal(0x52, 0x54, 0x00, 0x0a, 0x0b, 0x0c, 0, 0);
    }

    [Fact]
    public async Task Without_RARP_nobody_is_told_and_the_caller_knows()
    {
        await using Talk talk = await Talk.StartAsync(Offer(Mac, VhostUserProtocolFeatures.NetMtu));
        int mark = talk.Backend.Mark();
        (await talk.Client.SendRarpAsync().InTime()).Should().BeFalse();
        await talk.Client.Frontend.ReadConfigAsync(0, new byte[4]);
        talk.Backend.Since(mark).Should().Equal("GET_CONFIG");
    }

    [Fact]
    public async Task F20_an_address_that_is_refused_is_an_error_and_can_be_told_again()
    {
        await using Talk talk = await Talk.StartAsync(Offer(Mac, Messages));
        talk.Backend.Misbehave = static (request, _) => request.Code == VhostUserRequest.SendRarp ? Refusal(request) : null;
        for (int i = 0; i < 3; i++)
            await talk.Client.Awaiting(client => client.SendRarpAsync().InTime()).Should().ThrowAsync<VhostUserRejectedException>().WithMessage("VHOST_USER_SEND_RARP*7*");
        talk.Backend.Misbehave = null;
        (await talk.Client.SendRarpAsync().InTime()).Should().BeTrue();
    }

    [Fact]
    public async Task Without_REPLY_ACK_both_are_said_and_nobody_waits()
    {
        await using Talk talk = await Talk.StartAsync(Offer(Mtu | Mac, Messages).Without(VhostUserProtocolFeatures.ReplyAck));
        talk.Said.Should().Contain("NET_SET_MTU 1400");
        (await talk.Client.SendRarpAsync().InTime()).Should().BeTrue();
        (await talk.Backend.WhenAsync(VhostUserRequest.SendRarp)).WantsAcknowledgement.Should().BeFalse();
    }

    [Fact]
    public async Task A_back_end_that_has_gone_is_told_nothing_and_the_caller_knows_why()
    {
        await using Talk talk = await Talk.StartAsync(Offer(Mac, Messages));
        talk.Backend.Connection.Abort();
        await talk.Client.Awaiting(client => client.SendRarpAsync().InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
    }

    private static BackendOffer Offer(VirtioFeatures features, VhostUserProtocolFeatures protocol) =>
        new BackendOffer { Features = VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures | features, Config = _config, Queues = 1 }.With(protocol);

    private static Misbehaviour Refusal(ScriptedRequest request) => Misbehaviour.Reply(request.Code, BitConverter.GetBytes(7UL));

    /// <summary>A client, and the back-end it talks to.</summary>
    private sealed class Talk(NetClient client, ScriptedBackend backend) : IAsyncDisposable
    {
        public NetClient Client => client;

        public ScriptedBackend Backend => backend;

        public IReadOnlyList<string> Said => backend.Transcript;

        public static async Task<Talk> StartAsync(BackendOffer offer, NetClientOptions? options = null)
        {
            (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
            ScriptedBackend backend = new(back, offer);
            return new Talk(await NetClient.StartAsync(front, options ?? _client).InTime(), backend);
        }

        public async ValueTask DisposeAsync()
        {
            await client.DisposeAsync();
            await backend.DisposeAsync();
        }
    }
}
