using Xunit.Abstractions;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>What mutants are made of passes the whole suite by itself.</summary>
public sealed class SinlessTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_back_end_without_a_sin_passes(bool readOnly)
    {
        await using HandBackend backend = new(readOnly: readOnly);
        ConformanceReport report = await new BackendSuite(new()
        {
            SocketPath = backend.SocketPath,
            Device = "blk",
            Only = readOnly ? "block,configuration,dirty-log,status" : "*",
            Timeout = TimeSpan.FromSeconds(2),
        }).RunAsync();
        report.Results.Where(static result => result.Verdict is ConformanceVerdict.Fail or ConformanceVerdict.Wedged)
            .Select(static result => $"{result.Case.Id}: expected {result.Expected}; {result.Came}").Should().BeEmpty();
        backend.Surprises.Should().BeEmpty();
        output.WriteLine($"{report.Results.Count(static result => result.Verdict != ConformanceVerdict.Skip)} cases in {report.Elapsed.TotalSeconds:0.0} s");
    }
}
