using Vhost.Conformance.Tests.Mutants;

namespace Vhost.Conformance.Tests;

/// <summary>A back-end that has packed rings and no area for them says so once.</summary>
public sealed class PackedAreaTests
{
    [Fact]
    public async Task One_case_fails_and_the_others_are_skipped()
    {
        await using HandBackend backend = new(Sin.HasNoPackedArea);
        BackendSuite suite = new(new() { SocketPath = backend.SocketPath, Device = "blk", Only = "inflight/packed-*" });

        ConformanceReport report = await suite.RunAsync();

        ConformanceResult failed = report.Results.Should().ContainSingle(static result => result.Verdict != ConformanceVerdict.Skip).Which;
        failed.Case.Id.Should().Be("inflight/packed-get");
        failed.Severity.Should().Be(ConformanceSeverity.Low);
        report.Results.Where(result => result != failed).Should().NotBeEmpty().And.OnlyContain(static result => result.Reason == "the back-end has no area for packed rings");
    }
}
