using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Kicks, interrupts and errors as messages.</summary>
[Collection(ProcessCounts.Name)]
public sealed class InbandTests : CountedTests
{
    [Fact]
    public async Task A_ring_starts_with_a_kick_message_and_no_descriptor_goes_out()
    {
        await using Dialogue dialogue = await ReadyAsync();
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.StartVringAsync(Rings[0]);
        dialogue.Backend.Since(mark).Should().Equal("SET_VRING_NUM 0,128 !", "SET_VRING_BASE 0,0 !", "SET_VRING_ADDR 0 !", "VRING_KICK !", "SET_VRING_ENABLE 0,1 !");
    }

    [Fact]
    public async Task Who_polls_says_so_as_without_the_feature()
    {
        await using Dialogue dialogue = await ReadyAsync();
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.StartVringAsync(TestRings.Bare(0));
        dialogue.Backend.Since(mark).Should().Equal(
            "SET_VRING_NUM 0,128 !", "SET_VRING_BASE 0,0 !", "SET_VRING_ADDR 0 !", "SET_VRING_CALL 0,none !", "SET_VRING_KICK 0,none !", "SET_VRING_ENABLE 0,1 !");
    }

    [Fact]
    public async Task What_the_driver_signals_goes_as_a_kick_until_the_ring_stops()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings settings = Rings[0];
        FrontendVring ring = await dialogue.Session.StartVringAsync(settings);
        int mark = dialogue.Backend.Mark();
        settings.Kick!.Signal();
        await Eventually.TrueAsync(() => dialogue.Backend.Since(mark) is ["VRING_KICK !"]);

        await ring.StopAsync();
        mark = dialogue.Backend.Mark();
        settings.Call!.TryConsume().Should().BeTrue("a call may have been under way");
        Task next = settings.Kick.WaitAsync().AsTask(); // throws while the session still waits
        settings.Kick.Signal();
        await next.InTime();
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
        dialogue.Backend.Since(mark).Should().ContainSingle("a kick would start the ring again").Which.Should().StartWith("GET_CONFIG");
    }

    [Fact]
    public async Task Calls_and_errors_of_the_back_end_reach_the_notifiers_of_the_ring()
    {
        await using Dialogue dialogue = await ReadyAsync();
        using EventNotifier error = new();
        VringSettings settings = Rings[1] with { Error = error };
        FrontendVring ring = await dialogue.Session.StartVringAsync(settings);

        (await AskAsync(dialogue, VhostUserBackendRequest.VringCall, 1)).Should().Be(0);
        settings.Call!.TryConsume().Should().BeTrue();
        (await AskAsync(dialogue, VhostUserBackendRequest.VringErr, 1)).Should().Be(0);
        error.TryConsume().Should().BeTrue();

        using EventNotifier other = new();
        await ring.SetCallAsync(other);
        other.TryConsume().Should().BeTrue("a call may have gone to the one before");
        (await AskAsync(dialogue, VhostUserBackendRequest.VringCall, 1)).Should().Be(0);
        other.TryConsume().Should().BeTrue();
    }

    [Fact]
    public async Task F09_calls_of_rings_that_do_not_run_are_refused()
    {
        await using Dialogue dialogue = await ReadyAsync();
        await dialogue.Session.StartVringAsync(Rings[0]);
        foreach (uint index in new[] { 1u, 255u, 256u, uint.MaxValue })
        {
            (await AskAsync(dialogue, VhostUserBackendRequest.VringCall, index)).Should().Be(1);
            (await AskAsync(dialogue, VhostUserBackendRequest.VringErr, index)).Should().Be(1);
        }
    }

    [Theory]
    [InlineData(VhostUserBackendRequest.VringCall, 7)]
    [InlineData(VhostUserBackendRequest.VringCall, 9)]
    [InlineData(VhostUserBackendRequest.VringErr, 0)]
    [InlineData(VhostUserBackendRequest.VringErr, 16)]
    public async Task F09_calls_of_another_shape_are_refused(VhostUserBackendRequest request, int size)
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings settings = Rings[0];
        await dialogue.Session.StartVringAsync(settings);
        await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(request, size, needReply: true), new byte[size]);
        using VhostUserMessage? reply = await dialogue.Backend.Channel.ReceiveAsync().InTime();
        BitConverter.ToUInt64(reply!.Payload).Should().Be(1);
        settings.Call!.TryConsume().Should().BeFalse();
    }

    [Fact]
    public async Task F09_calls_without_end_are_taken()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings settings = Rings[0];
        await dialogue.Session.StartVringAsync(settings);
        byte[] payload = Payload(0);
        for (int i = 0; i < 100_000; i++)
            await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(VhostUserBackendRequest.VringCall, 8), payload);
        (await AskAsync(dialogue, VhostUserBackendRequest.VringCall, 0)).Should().Be(0);
        settings.Call!.TryConsume().Should().BeTrue();
    }

    [Fact]
    public async Task A_back_end_that_refuses_the_kick_has_not_started_the_ring()
    {
        await using Dialogue dialogue = await ReadyAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.VringKick ? Misbehaviour.Reply(VhostUserRequest.VringKick, BitConverter.GetBytes(1UL)) : null;
        Func<Task> starting = async () => await dialogue.Session.StartVringAsync(Rings[0]);
        await starting.Should().ThrowAsync<VhostUserRejectedException>();
        dialogue.Session.Summary.Rings.Should().BeEmpty();
    }

    [Fact]
    public async Task A_session_that_is_lost_lets_go_of_the_notifiers()
    {
        await using Dialogue dialogue = await ReadyAsync();
        VringSettings settings = Rings[0];
        await dialogue.Session.StartVringAsync(settings);
        dialogue.Backend.Connection.Abort();
        await dialogue.Session.DisposeAsync();
        Task next = settings.Kick!.WaitAsync().AsTask(); // throws while somebody else waits
        settings.Kick.Signal();
        await next.InTime();
    }

    private async Task<Dialogue> ReadyAsync()
    {
        Dialogue dialogue = await Dialogue.StartAsync(
            new BackendOffer().With(VhostUserProtocolFeatures.InbandNotifications),
            new VhostUserFrontendOptions { RequiredProtocolFeatures = VhostUserProtocolFeatures.InbandNotifications });
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        return dialogue;
    }

    private static byte[] Payload(uint index)
    {
        byte[] payload = new byte[VhostUserVringState.Size];
        new VhostUserVringState(index, 0).Write(payload);
        return payload;
    }

    private static async Task<ulong> AskAsync(Dialogue dialogue, VhostUserBackendRequest request, uint index)
    {
        await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(request, 8, needReply: true), Payload(index));
        using VhostUserMessage? reply = await dialogue.Backend.Channel.ReceiveAsync().InTime();
        return BitConverter.ToUInt64(reply!.Payload);
    }
}
