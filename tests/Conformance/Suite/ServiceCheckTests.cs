using Vhost.Conformance.Tests.Mutants;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>How long a back-end may be away follows the timeout of the run.</summary>
public sealed class ServiceCheckTests
{
    [Fact]
    public async Task One_that_listens_again_within_the_timeout_serves()
    {
        await using PointedSocket place = new();
        await using HandBackend backend = new();
        place.Point(backend.SocketPath);
        BackendProfile profile = await BackendProfiler.AskAsync(new() { SocketPath = place.Path, Device = "blk" });
        place.PointNowhere();

        Task<CaseFinding> check = ServiceCheck.RunAsync(place.Path, profile, new Dialogue(), TimeSpan.FromMinutes(10));
        await Task.Delay(TimeSpan.FromSeconds(1)); // it is away for so long
        place.Point(backend.SocketPath);

        (await check.InTime()).Verdict.Should().Be(ConformanceVerdict.Pass);
    }

    [Fact]
    public async Task One_that_does_not_is_gone()
    {
        await using PointedSocket place = new();
        BackendProfile profile = new(DeviceModel.ByName("blk")!, 0, 0, 0, "");

        CaseFinding finding = await ServiceCheck.RunAsync(place.Path, profile, new Dialogue(), TimeSpan.FromMilliseconds(50)).InTime();

        finding.Verdict.Should().Be(ConformanceVerdict.Fail);
        finding.Came.Should().StartWith("the back-end is gone");
    }
}
