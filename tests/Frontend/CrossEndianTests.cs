using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A hypervisor whose guest has the other byte order says so for each of its legacy rings, by the raw layer: nothing else here has rings of another order.</summary>
[Collection(ProcessCounts.Name)]
public sealed class CrossEndianTests : CountedTests
{
    private const VhostUserProtocolFeatures CrossEndian = VhostUserProtocolFeatures.CrossEndian;
    private const VirtioFeatures Legacy = VirtioFeatures.AnyLayout;

    private static readonly BackendOffer _offer = new BackendOffer { Features = Legacy | VirtioFeatures.VhostUserProtocolFeatures }.With(CrossEndian);
    private static readonly VhostUserFrontendOptions _legacy = new() { RequiredFeatures = Legacy, RequiredProtocolFeatures = CrossEndian };

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetVringEndian, VhostUserProtocolFeatures.CrossEndian)]
    public async Task The_order_of_each_ring_is_said_and_acknowledged()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _legacy);
        dialogue.Session.ProtocolFeatures.Should().Be(BackendOffer.UsualProtocol | CrossEndian);
        dialogue.Backend.Transcript.Should().Contain("SET_PROTOCOL_FEATURES 0xa269").And.Contain("SET_FEATURES 0x48000000 !", "VERSION_1 and this message exclude each other");
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.Requests.SetVringEndianAsync(0, bigEndian: true).InTime();
        await dialogue.Session.Requests.SetVringEndianAsync(1, bigEndian: false).InTime();
        await dialogue.Session.Requests.SetVringEndianAsync(255, bigEndian: true).InTime();
        dialogue.Backend.Since(mark).Should().Equal("SET_VRING_ENDIAN 0,1 !", "SET_VRING_ENDIAN 1,0 !", "SET_VRING_ENDIAN 255,1 !");
    }

    [Fact]
    public async Task F20_an_order_that_the_back_end_has_not_is_an_error_by_name_and_the_session_goes_on()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _legacy);
        dialogue.Backend.Misbehave = static (request, _) => request.Code == VhostUserRequest.SetVringEndian && request.Second == 1 ? Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL)) : null;
        await dialogue.Session.Requests.Awaiting(raw => raw.SetVringEndianAsync(0, bigEndian: true).InTime())
            .Should().ThrowAsync<VhostUserRejectedException>().WithMessage("VHOST_USER_SET_VRING_ENDIAN*");
        await dialogue.Session.Requests.SetVringEndianAsync(0, bigEndian: false).InTime();
        await dialogue.Session.ReadConfigAsync(0, new byte[4]);
    }

    [Fact]
    public async Task A_session_asks_for_it_only_when_it_is_told_to_and_names_a_back_end_that_has_it_not()
    {
        await using Dialogue usual = await Dialogue.StartAsync(new BackendOffer().With(CrossEndian));
        usual.Session.ProtocolFeatures.Should().Be(BackendOffer.UsualProtocol);
        (Exception failure, _) = await Dialogue.RefusedAsync(_offer.Without(CrossEndian), _legacy);
        failure.Should().BeOfType<VhostUserFeatureException>().Which.MissingProtocol.Should().Be(CrossEndian);
    }
}
