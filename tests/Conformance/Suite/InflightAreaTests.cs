using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests;

/// <summary>The area for requests in flight is whatever a peer sent.</summary>
public sealed class InflightAreaTests
{
    private static readonly VhostUserInflight _said = new(4096, 0, 1, 16);

    [Fact]
    public void A_pipe_is_no_area_and_nobody_waits_for_what_comes_through_it()
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (writer)
        {
            Action take = () => new InflightArea(_said, reader).Dispose();
            take.Should().Throw<CaseEndedException>().Which.Verdict.Should().Be(ConformanceVerdict.Fail);
        }
    }

    [Fact]
    public void An_area_that_ends_early_is_the_fault_of_who_sent_it()
    {
        using SharedMemory file = SharedMemory.CreateSealed("area", 4096);
        using InflightArea area = new(_said with { MmapSize = 8192 }, file.Descriptor);
        Action read = () => _ = area.Contents;
        read.Should().Throw<CaseEndedException>().Which.Came.Should().Be("its file ends at byte 4096");
    }
}
