using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A back-end that says the same without end: what one request takes is given back before the next.</summary>
[Collection(ProcessCounts.Name)]
public sealed class BackendMessageRepetitionTests : CountedTests
{
    /// <summary>A doorbell page takes several times as long as the others: it is mapped, its user is asked on a task of its own, and the page before is unmapped.</summary>
    [Theory]
    [InlineData(100_000, new[] { VhostUserBackendRequest.ConfigChangeMsg })]
    [InlineData(10_000, new[] { VhostUserBackendRequest.VringHostNotifierMsg })]
    [InlineData(100_000, new[] { VhostUserBackendRequest.VringCall })]
    [InlineData(100_000, new[] { VhostUserBackendRequest.VringErr })]
    [InlineData(100_000, new[] { VhostUserBackendRequest.SharedObjectAdd, VhostUserBackendRequest.SharedObjectRemove })]
    [InlineData(100_000, new[] { VhostUserBackendRequest.SharedObjectLookup })]
    [InlineData(100_000, new[] { VhostUserBackendRequest.ShmemMap, VhostUserBackendRequest.ShmemUnmap })]
    public async Task F09_requests_without_end_are_carried_out_and_leave_nothing_behind(int times, VhostUserBackendRequest[] turn)
    {
        await using AskingScene scene = await AskingScene.PreparedAsync(Rings);
        (VhostUserBackendRequest Request, byte[] Payload)[] said = Array.ConvertAll(turn, static request => (request, AskingScene.PayloadOf(request)));
        await scene.RepeatAsync(1, said);
        AskingScene.Outcome once = scene.TakeOutcome();
        ProcessCounts before = ProcessCounts.Snapshot();
        await scene.RepeatAsync(times, said);
        before.AssertBack();
        scene.TakeOutcome().Should().Be(once);
        await scene.GoesOnAsync();
    }

    /// <summary>A miss is answered by a message on the other channel, which is acknowledged there before the answer goes out here: four messages one after the other. (Those that nobody wants an answer to become one while it waits.)</summary>
    [Fact]
    public async Task F09_misses_without_end_are_answered_and_leave_nothing_behind()
    {
        await using AskingScene scene = await AskingScene.PreparedAsync(Rings);
        scene.Dialogue.Backend.Records = false;
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int i = 0; i < 10_000; i++)
            (await scene.AskAsync(VhostUserBackendRequest.IotlbMsg)).Should().Be(0);
        before.AssertBack();
        scene.Iommu.Lookups.Should().Be(10_000);
        await scene.GoesOnAsync();
    }

    [Fact]
    public async Task F09_refused_accesses_without_end_are_counted_and_leave_nothing_behind()
    {
        await using AskingScene scene = await AskingScene.PreparedAsync(Rings);
        ProcessCounts before = ProcessCounts.Snapshot();
        await scene.RepeatAsync(100_000, (VhostUserBackendRequest.IotlbMsg, AskingScene.Bytes(AskingScene.Iotlb(VhostUserIotlbType.AccessFail))));
        before.AssertBack();
        scene.Iommu.AccessFailures.Should().Be(100_000);
        await scene.GoesOnAsync();
    }
}
