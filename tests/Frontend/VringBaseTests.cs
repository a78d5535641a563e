using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Where a stopped ring goes on, and answers that cannot be true.</summary>
[Collection(ProcessCounts.Name)]
public sealed class VringBaseTests : CountedTests
{
    [Theory]
    [InlineData(0x1_0000u, 0, 0)]
    [InlineData(11u, 10, 0)]
    [InlineData(0u, 200, 0)]
    [InlineData(200u, 200, 0)]
    public async Task F08_a_base_that_cannot_be_is_an_error_and_the_ring_is_stopped(uint answer, int available, int used)
    {
        await using Dialogue dialogue = await ReadyAsync(new BackendOffer { Base = answer });
        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0]);
        Rings.SetIndices(0, (ushort)available, (ushort)used);
        VhostUserProtocolException failure =
            (await ring.Invoking(r => r.StopAsync().AsTask()).Should().ThrowAsync<VhostUserProtocolException>()).Which;
        failure.Message.Should().Contain("VHOST_USER_GET_VRING_BASE").And.Contain("ring 0").And.Contain("128");
        ring.IsStarted.Should().BeFalse();

        Rings.SetIndices(0, 0, 0);
        await dialogue.Session.StartVringAsync(Rings[0]);
    }

    [Theory]
    [InlineData(65535u, 5, 65530)]
    [InlineData(128u, 128, 0)]
    [InlineData(0u, 128, 0)]
    public async Task F08_bases_at_the_edges_and_across_the_wrap_are_right(uint answer, int available, int used)
    {
        await using Dialogue dialogue = await ReadyAsync(new BackendOffer { Base = answer });
        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0]);
        Rings.SetIndices(0, (ushort)available, (ushort)used);
        (await ring.StopAsync()).AvailableIndex.Should().Be((ushort)answer);
    }

    [Fact]
    public async Task F08_a_base_of_another_ring_is_an_error()
    {
        await using Dialogue dialogue = await ReadyAsync();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetVringBase
            ? Misbehaviour.Reply(request.Code, [3, 0, 0, 0, 0, 0, 0, 0])
            : null;
        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0]);
        await ring.Invoking(r => r.StopAsync().AsTask()).Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*about ring 3*");
    }

    [Fact]
    public async Task Packed_bases_carry_both_positions()
    {
        const VirtioFeatures packed = VirtioFeatures.Version1 | VirtioFeatures.RingPacked | VirtioFeatures.VhostUserProtocolFeatures;
        await using Dialogue dialogue = await ReadyAsync(
            new BackendOffer { Features = packed, Base = 0x0003_8005 }, new VhostUserFrontendOptions { WantedFeatures = packed });
        int mark = dialogue.Backend.Mark();
        FrontendVring ring = await dialogue.Session.StartVringAsync(Rings[0] with { Size = 100, Base = VringBase.FreshPacked });
        dialogue.Backend.Since(mark).Should().Contain($"SET_VRING_BASE 0,{0x80008000u} !");
        (await ring.StopAsync()).Should().Be(new VringBase(0x8005, 0x0003));

        // DPDK answers the low half alone.
        dialogue.Backend.Offer = dialogue.Backend.Offer with { Base = 0x8005 };
        ring = await dialogue.Session.StartVringAsync(Rings[0] with { Size = 100, Base = VringBase.FreshPacked });
        (await ring.StopAsync()).Should().Be(new VringBase(0x8005, 0x8005));

        dialogue.Backend.Offer = dialogue.Backend.Offer with { Base = 100 };
        ring = await dialogue.Session.StartVringAsync(Rings[0] with { Size = 100, Base = VringBase.FreshPacked });
        await ring.Invoking(r => r.StopAsync().AsTask()).Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*packed ring of size 100*");
    }

    [Theory]
    [InlineData(VirtioFeatures.None, 0u)]
    [InlineData(VirtioFeatures.RingPacked, 0x8000_8000u)]
    public async Task A_ring_of_which_nobody_says_where_it_is_begins_as_its_format_does(VirtioFeatures format, uint beginning)
    {
        VirtioFeatures features = VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures | format;
        await using Dialogue dialogue = await ReadyAsync(new BackendOffer { Features = features }, new VhostUserFrontendOptions { WantedFeatures = features });
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.StartVringsAsync([Rings[0], Rings[1] with { Base = new VringBase(0) }]);
        dialogue.Backend.Since(mark).Should().Contain($"SET_VRING_BASE 0,{beginning} !").And.Contain("SET_VRING_BASE 1,0 !", "a packed ring that has come around once is there");
    }

    private async Task<Dialogue> ReadyAsync(BackendOffer? offer = null, VhostUserFrontendOptions? options = null)
    {
        Dialogue dialogue = await Dialogue.StartAsync(offer, options);
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        return dialogue;
    }
}
