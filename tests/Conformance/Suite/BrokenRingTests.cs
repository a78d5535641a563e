using Vhost.Conformance.Tests.Mutants;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>A device that serves the chain behind a broken one may still say that the ring broke, and is asked again before it is taken for one that knows no such error.</summary>
public sealed class BrokenRingTests
{
    [Fact]
    public async Task It_may_say_so_after_it_served()
    {
        int asked = 0;

        await AskAsync(() => ++asked > 3);

        asked.Should().BeGreaterThan(3);
    }

    [Fact]
    public async Task One_that_never_does_takes_it_for_no_error()
    {
        Func<Task> ask = () => AskAsync(static () => false);

        (await ask.Should().ThrowAsync<CaseEndedException>()).Which.Verdict.Should().Be(ConformanceVerdict.Skip);
    }

    private static async Task AskAsync(Func<bool> told)
    {
        await using HandBackend backend = new(Sin.ReducesHead);
        BackendProfile profile = new(DeviceModel.ByName("blk")!, VirtioFeatures.None, VhostUserProtocolFeatures.None, 0, "");
        await using BackendPeer peer = await BackendPeer.ConnectAsync(backend.SocketPath, profile, CaseNeeds.Working, new Dialogue(), new(TimeSpan.FromSeconds(10)));
        DriverRing ring = await peer.ServeAsync();
        await peer.WorkAsync(ring);
        await BrokenRing.IsToldAsync(peer, ring, () => Task.FromResult(told()), "it says so").InTime();
    }
}
