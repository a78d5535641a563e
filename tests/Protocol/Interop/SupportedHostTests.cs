using System.Runtime.InteropServices;

namespace Vhost.Protocol.Tests;

public sealed class SupportedHostTests
{
    [Theory]
    [InlineData(Architecture.X64)]
    [InlineData(Architecture.Arm64)]
    public void Linux_on_x64_and_arm64_is_supported(Architecture architecture) =>
        SupportedHost.ProblemOf(linux: true, architecture, littleEndian: true).Should().BeNull();

    [Theory]
    [InlineData(false, Architecture.X64, true, "not Linux")]
    [InlineData(true, Architecture.X86, true, "X86")]
    [InlineData(true, Architecture.Arm, true, "Arm,")]
    [InlineData(true, Architecture.S390x, false, "S390x, big-endian")]
    [InlineData(true, Architecture.Arm64, false, "Arm64, big-endian")]
    public void Another_host_is_refused_with_one_line_that_names_it(bool linux, Architecture architecture, bool littleEndian, string named) =>
        SupportedHost.ProblemOf(linux, architecture, littleEndian).Should()
            .StartWith("vhost-user needs Linux on x64 or arm64").And.Contain(named).And.NotContain("\n");

    [Fact]
    public void The_host_of_these_tests_is_supported() => FluentActions.Invoking(SupportedHost.Require).Should().NotThrow();
}
