using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Switching the dirty log on and off, with a back-end that refuses in the middle.</summary>
public class LogTests
{
    private static readonly BackendOffer _offer = new BackendOffer().With(VhostUserProtocolFeatures.LogShmFd);
    private static readonly VhostUserFrontendOptions _options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.LogShmFd };

    [Theory]
    [InlineData(VhostUserRequest.SetVringAddr)]
    [InlineData(VhostUserRequest.SetFeatures)]
    [Shows(Counterpart.Script, VhostUserRequest.SetLogBase, VhostUserProtocolFeatures.LogShmFd, VirtioFeatures.LogAll)]
    public async Task A_stop_that_is_refused_half_way_can_be_tried_again(VhostUserRequest refused)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options);
        using TestRings rings = new();
        await dialogue.Session.SetMemoryAsync(rings.Memory);
        await dialogue.Session.StartVringAsync(rings[0]);
        await dialogue.Session.StartLoggingAsync();

        dialogue.Backend.Misbehave = (request, _) => request.Code == refused ? Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL)) : null;
        await dialogue.Session.Invoking(session => session.StopLoggingAsync().AsTask()).Should().ThrowAsync<VhostUserRejectedException>();
        dialogue.Session.IsLogging.Should().BeTrue("LOG_ALL is still acknowledged");
        (dialogue.Session.AcknowledgedFeatures & VirtioFeatures.LogAll).Should().Be(VirtioFeatures.LogAll);

        dialogue.Backend.Misbehave = null;
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.StopLoggingAsync();
        dialogue.Session.IsLogging.Should().BeFalse();
        dialogue.Backend.Since(mark).Should().HaveCount(2).And.ContainMatch("SET_VRING_ADDR 0*").And.ContainMatch("SET_FEATURES*");
        (dialogue.Session.AcknowledgedFeatures & VirtioFeatures.LogAll).Should().Be(VirtioFeatures.None);
    }

    [Fact]
    public async Task After_a_stop_that_was_refused_logging_begins_anew_with_all_of_it()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options);
        using TestRings rings = new();
        await dialogue.Session.SetMemoryAsync(rings.Memory);
        await dialogue.Session.StartVringAsync(rings[0]);
        await dialogue.Session.StartLoggingAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.SetFeatures ? Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL)) : null;
        await dialogue.Session.Invoking(session => session.StopLoggingAsync().AsTask()).Should().ThrowAsync<VhostUserRejectedException>();
        dialogue.Backend.Misbehave = null;

        int mark = dialogue.Backend.Mark();
        await dialogue.Session.StartLoggingAsync();
        dialogue.Backend.Since(mark).Should().HaveCount(3).And.ContainMatch("SET_LOG_BASE*").And.ContainMatch("SET_FEATURES*").And.ContainMatch("SET_VRING_ADDR 0*");
        dialogue.Backend.Last(VhostUserRequest.SetVringAddr).Read<VhostUserVringAddress>().Flags.Should().Be(VhostUserVringAddress.LogUsedRing);
    }
}
