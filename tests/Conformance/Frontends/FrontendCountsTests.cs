using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>What a front-end can make this process open, and when it is closed.</summary>
[Collection(ProcessCounts.Name)]
public sealed class FrontendCountsTests
{
    private const int Calls = 5000;
    private const int MostMore = 100;

    [Fact]
    public async Task A_call_descriptor_is_closed_when_the_next_one_has_come()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        int during = int.MaxValue;
        HostileScript script = new() { Flood = VhostUserRequest.SetVringCall, Act = static _ => { }, Patience = TimeSpan.FromSeconds(50) };

        (ConformanceResult result, _) = await HostileFrontend.PlayedAsync(script, async peer =>
        {
            peer.Play();
            await peer.UntilAsync(() => peer.Said.Length > Calls, "many messages");
            during = ProcessCounts.Snapshot().Descriptors;
        });

        result.Verdict.Should().Be(ConformanceVerdict.Pass);
        during.Should().BeLessThan(before.Descriptors + MostMore);
        before.AssertBack();
    }
}
