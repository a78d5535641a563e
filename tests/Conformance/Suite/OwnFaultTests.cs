using System.Diagnostics.CodeAnalysis;
using Microsoft.Win32.SafeHandles;
using Vhost.Conformance.Tests.Mutants;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>What this process lacks, or does wrong with its own descriptors, is no finding about the peer.</summary>
[SuppressMessage("Design", "CA1001", Justification = "xunit calls DisposeAsync.")]
public sealed class OwnFaultTests : IAsyncLifetime
{
    private const string Itself = "the case itself failed: LinuxException: ";

    private static readonly LinuxException _none = new("eventfd2", Libc.EMFILE);

    private readonly HandBackend _backend = new();

    [Fact]
    public async Task A_case_that_gets_no_descriptor_has_failed_itself()
    {
        ConformanceResult result = await RunAsync(DeviceModel.ByName("blk")!, static _ => throw _none);

        result.Came.Should().StartWith(Itself).And.Contain("EMFILE");
        result.Severity.Should().Be(ConformanceSeverity.High, "the back-end is not lost");
    }

    [Fact]
    public async Task A_check_that_gets_none_does_not_find_the_back_end_lost()
    {
        ConformanceResult result = await RunAsync(new WithoutDescriptors(), static _ => Task.CompletedTask);

        result.Verdict.Should().Be(ConformanceVerdict.Fail);
        result.Came.Should().StartWith(Itself).And.Contain("EMFILE");
        result.Severity.Should().Be(ConformanceSeverity.High);
    }

    [Fact]
    public async Task What_the_case_found_before_such_a_check_stays()
    {
        ConformanceResult result = await RunAsync(new WithoutDescriptors(), static _ => throw Expect.Harmed("memory as it was", "it is not"));

        result.Came.Should().Be("it is not");
        result.Severity.Should().Be(ConformanceSeverity.Critical, "the harm was done");
    }

    [Fact]
    public async Task A_check_that_gets_none_acquits_nobody_who_is_suspected_of_a_loss()
    {
        await using PointedSocket place = new();
        place.Point(_backend.SocketPath);
        BackendSuiteOptions options = new()
        {
            SocketPath = place.Path,
            Device = "blk",
            Timeout = TimeSpan.FromMilliseconds(500),
            RestartCommand = $"ln -sf {_backend.SocketPath} {place.Path}",
        };
        // The check behind the first case, and that of the back-end that was started again, have one; the check behind the case that is repeated has none.
        BackendExamination examination = new(options, (await BackendProfiler.AskAsync(options)) with { Device = new WithDescriptorsFor(2) });

        ConformanceResult first = await examination.RunAsync(Case(static _ => Task.CompletedTask), default).InTime();
        place.PointNowhere();
        ConformanceResult second = await examination.RunAsync(Case(static _ => Task.CompletedTask), default).InTime();

        first.Verdict.Should().Be(ConformanceVerdict.Pass);
        examination.Amended.Should().BeNull("nobody has seen that the first case did the harm");
        second.Came.Should().StartWith(Itself).And.Contain("EMFILE");
        second.Severity.Should().Be(ConformanceSeverity.High);
    }

    [Fact]
    public async Task A_descriptor_that_is_none_was_not_refused_by_the_peer()
    {
        using SafeFileHandle none = new(int.MaxValue, ownsHandle: false);

        ConformanceResult result = await RunAsync(DeviceModel.ByName("blk")!, async peer =>
        {
            await peer.SendAsync(VhostUserRequest.SetMemTable, peer.Memory.Table, none);
            await peer.EndsAsync("it was sent nonsense");
        });

        result.Verdict.Should().Be(ConformanceVerdict.Fail);
        result.Came.Should().StartWith(Itself).And.Contain("EBADF");
    }

    [Theory]
    [InlineData(Libc.EMFILE, true)]
    [InlineData(Libc.ENFILE, true)]
    [InlineData(Libc.ENOMEM, true)]
    [InlineData(Libc.EBADF, true)]
    [InlineData(Libc.ECONNREFUSED, false)]
    [InlineData(Libc.ENOENT, false)]
    [InlineData(Libc.EPIPE, false)]
    [InlineData(Libc.ECONNRESET, false)]
    [InlineData(Libc.EACCES, false)]
    public void Which_failures_are_its_own(int errno, bool own)
    {
        LinuxException cause = new("connect", errno);

        OwnFault.Is(cause).Should().Be(own);
        OwnFault.Is(new VhostUserException("Cannot connect.", cause)).Should().Be(own);
    }

    [Fact]
    public void Descriptors_that_the_kernel_could_not_deliver_had_no_room_here()
    {
        OwnFault.Is(new VhostUserProtocolException(VhostUserViolation.DescriptorsTruncated, "")).Should().BeTrue();
        OwnFault.Is(new VhostUserProtocolException(VhostUserViolation.ReservedFlags, "")).Should().BeFalse();
    }

    public Task InitializeAsync() => Task.CompletedTask;

    public Task DisposeAsync() => _backend.DisposeAsync().AsTask();

    private async Task<ConformanceResult> RunAsync(DeviceModel device, Func<BackendPeer, Task> run)
    {
        BackendSuiteOptions options = new() { SocketPath = _backend.SocketPath, Device = "blk" };
        BackendExamination examination = new(options, (await BackendProfiler.AskAsync(options)) with { Device = device });
        return await examination.RunAsync(Case(run), default).InTime();
    }

    private static BackendCase Case(Func<BackendPeer, Task> run) => new(new("own/case", "own", "A case", "", ConformanceLevel.Must), CaseNeeds.Nothing, run);

    private sealed class WithoutDescriptors : DeviceModel
    {
        public override string Name => "blk";

        public override Work NewWork(CaseMemory memory) => throw _none;
    }

    private sealed class WithDescriptorsFor(int works) : DeviceModel
    {
        private readonly BlockModel _disk = new();
        private int _left = works;

        public override string Name => "blk";

        public override Work NewWork(CaseMemory memory) => _left-- > 0 ? _disk.NewWork(memory) : throw _none;
    }
}
