using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>What this process lacks is no finding about the front-end.</summary>
[Collection(ProcessCounts.Name)]
public sealed class FrontendOwnFaultTests
{
    private const string Itself = "the case itself failed: LinuxException: ";

    private static readonly LinuxException _none = new("eventfd2", Libc.EMFILE);

    [Fact]
    public async Task A_case_that_gets_no_descriptor_has_failed_itself()
    {
        ConformanceResult result = await PlayAsync(static _ => throw _none);

        result.Verdict.Should().Be(ConformanceVerdict.Fail);
        result.Came.Should().StartWith(Itself).And.Contain("EMFILE");
    }

    [Fact]
    public async Task Nor_has_one_that_gets_none_for_what_the_front_end_says()
    {
        ConformanceResult result = await PlayAsync(static peer =>
        {
            peer.Script.On(VhostUserRequest.SetVringKick, static (_, _) => throw _none);
            return peer.ServedAsync();
        });

        result.Came.Should().StartWith(Itself).And.Contain("EMFILE");
    }

    [Fact]
    public async Task Descriptors_for_which_there_is_no_room_here_are_no_fault_of_theirs()
    {
        ConformanceResult result = await PlayAsync(static async peer =>
        {
            peer.Script.On(VhostUserRequest.SetOwner, static (peer, _) =>
            {
                peer.Own(DescriptorLimit.Leaving(0));
                return Task.CompletedTask;
            });
            await peer.ServedAsync();
        });

        result.Came.Should().StartWith("the case itself failed: ");
    }

    private static async Task<ConformanceResult> PlayAsync(Func<FrontendPeer, Task> run) => (await HostileFrontend.PlayedAsync(new(), run)).Result;
}
