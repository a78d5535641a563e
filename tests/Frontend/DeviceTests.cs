using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

[Collection(ProcessCounts.Name)]
public sealed class DeviceTests : CountedTests
{
    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetConfig, VhostUserProtocolFeatures.Config)]
    public async Task A_window_of_the_configuration_space_is_read()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        byte[] window = new byte[12];
        await dialogue.Session.ReadConfigAsync(8, window);

        window.Should().Equal(dialogue.Backend.Offer.Config[8..20]);
        ScriptedRequest asked = dialogue.Backend.Last(VhostUserRequest.GetConfig);
        asked.Payload.Should().Equal([8, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, .. new byte[12]]);
        asked.WantsAcknowledgement.Should().BeFalse("the request has a reply of its own");
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetConfig)]
    public async Task A_window_of_the_configuration_space_is_written()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        await dialogue.Session.WriteConfigAsync(32, new byte[] { 1, 2 });
        ScriptedRequest sent = dialogue.Backend.Last(VhostUserRequest.SetConfig);
        sent.Payload.Should().Equal(32, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2);
        sent.WantsAcknowledgement.Should().BeTrue();

        await using Dialogue silent = await Dialogue.StartAsync(new BackendOffer().Without(VhostUserProtocolFeatures.ReplyAck));
        await silent.Session.WriteConfigAsync(0, new byte[] { 1 });
        silent.Backend.Transcript.TakeLast(2).Should().Equal("SET_CONFIG", "GET_FEATURES");
    }

    [Fact]
    public async Task An_empty_window_is_no_message()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.ReadConfigAsync(256, Memory<byte>.Empty);
        await dialogue.Session.WriteConfigAsync(0, ReadOnlyMemory<byte>.Empty);
        dialogue.Backend.Since(mark).Should().BeEmpty();
    }

    [Theory]
    [InlineData(257u, 0)]
    [InlineData(0u, 257)]
    [InlineData(250u, 7)]
    [InlineData(uint.MaxValue, 4)]
    public async Task A_window_beyond_256_bytes_is_the_callers_mistake(uint offset, int length)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        await dialogue.Session.Invoking(session => session.ReadConfigAsync(offset, new byte[length]).AsTask())
            .Should().ThrowAsync<ArgumentOutOfRangeException>().WithMessage("*256*");
        await dialogue.Session.Invoking(session => session.WriteConfigAsync(offset, new byte[length]).AsTask())
            .Should().ThrowAsync<ArgumentOutOfRangeException>();
    }

    [Fact]
    public async Task Without_CONFIG_there_is_a_typed_error_that_names_message_and_feature()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().Without(VhostUserProtocolFeatures.Config));
        VhostUserFeatureException failure = (await dialogue.Session.Invoking(session => session.ReadConfigAsync(0, new byte[4]).AsTask())
            .Should().ThrowAsync<VhostUserFeatureException>()).Which;
        failure.MissingProtocol.Should().Be(VhostUserProtocolFeatures.Config);
        failure.Message.Should().Contain("VHOST_USER_GET_CONFIG").And.Contain("REPLY_ACK");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(12)]
    public async Task F07_a_refused_window_is_a_typed_error_and_the_session_goes_on(int replySize)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetConfig ? Misbehaviour.Reply(request.Code, new byte[replySize]) : null;
        await dialogue.Session.Invoking(session => session.ReadConfigAsync(0, new byte[4]).AsTask())
            .Should().ThrowAsync<VhostUserRejectedException>().WithMessage("*VHOST_USER_GET_CONFIG*4 bytes at offset 0*");

        dialogue.Backend.Misbehave = null;
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
    }

    [Theory]
    [InlineData(4, 4)]
    [InlineData(0, 5)]
    [InlineData(0, 0)]
    public async Task F07_a_reply_about_another_window_is_an_error_and_nothing_of_it_is_used(int offset, int size)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetConfig
            ? Misbehaviour.Reply(request.Code, [(byte)offset, 0, 0, 0, (byte)size, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])
            : null;
        byte[] window = new byte[4];
        VhostUserProtocolException failure = (await dialogue.Session.Invoking(session => session.ReadConfigAsync(0, window).AsTask())
            .Should().ThrowAsync<VhostUserProtocolException>()).Which;
        failure.Violation.Should().Be(VhostUserViolation.BadConfigRange);
        window.Should().OnlyContain(one => one == 0);
    }

    [Theory]
    [InlineData(15)]
    [InlineData(17)]
    [InlineData(268)]
    public async Task F07_a_shorter_or_longer_reply_ends_the_session_with_an_error(int replySize)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetConfig
            ? Misbehaviour.Reply(request.Code, [0, 0, 0, 0, 4, 0, 0, 0, .. new byte[replySize - 8]])
            : null;
        await dialogue.Session.Invoking(session => session.ReadConfigAsync(0, new byte[4]).AsTask())
            .Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*VHOST_USER_GET_CONFIG*");
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.ResetDevice, VhostUserProtocolFeatures.ResetDevice)]
    public async Task Reset_stops_the_rings_resets_and_acknowledges_the_features_again()
    {
        using TestRings rings = new();
        await using Dialogue dialogue = await Dialogue.StartAsync();
        await dialogue.Session.SetMemoryAsync(rings.Memory);
        IReadOnlyList<FrontendVring> started = await dialogue.Session.StartVringsAsync([rings[0], rings[1] with { Enabled = false }]);
        int mark = dialogue.Backend.Mark();

        (await dialogue.Session.ResetDeviceAsync()).Should().Be(DeviceResetMethod.ResetDevice);
        dialogue.Backend.Since(mark).Should().Equal(
            "SET_VRING_ENABLE 0,0 !", "GET_VRING_BASE 0,0", "GET_VRING_BASE 1,0", "RESET_DEVICE !", "SET_FEATURES 0x170000000 !");
        started.Should().OnlyContain(ring => !ring.IsStarted && !ring.IsEnabled);
        await dialogue.Session.StartVringsAsync([rings[0], rings[1]]);
    }

    [Fact]
    public async Task Reset_falls_back_to_the_status_and_then_to_stopping_the_rings()
    {
        VhostUserFrontendOptions options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.Status };
        BackendOffer offer = new BackendOffer().With(VhostUserProtocolFeatures.Status).Without(VhostUserProtocolFeatures.ResetDevice);
        await using (Dialogue dialogue = await Dialogue.StartAsync(offer, options))
        {
            int mark = dialogue.Backend.Mark();
            (await dialogue.Session.ResetDeviceAsync()).Should().Be(DeviceResetMethod.Status);
            dialogue.Backend.Since(mark).Should().Equal("SET_STATUS 0x0 !", "SET_FEATURES 0x170000000 !", "SET_STATUS 0xb !", "GET_STATUS");
        }

        await using (Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().Without(VhostUserProtocolFeatures.ResetDevice)))
        {
            int mark = dialogue.Backend.Mark();
            (await dialogue.Session.ResetDeviceAsync()).Should().Be(DeviceResetMethod.RingsStopped);
            dialogue.Backend.Since(mark).Should().Equal("SET_FEATURES 0x170000000 !");
        }
    }

    [Fact]
    public async Task Reset_does_not_mind_a_wrong_base()
    {
        using TestRings rings = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer { Base = 0xffff_ffff });
        await dialogue.Session.SetMemoryAsync(rings.Memory);
        await dialogue.Session.StartVringAsync(rings[0]);
        (await dialogue.Session.ResetDeviceAsync()).Should().Be(DeviceResetMethod.ResetDevice);
        await dialogue.Session.StartVringAsync(rings[0]);
    }
}
