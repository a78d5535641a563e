using Vhost.Backend;
using Vhost.Conformance;
using Vhost.Tests.Support;
using static Vhost.Conformance.ConformanceLevel;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The code of docs/conformance/adding-cases.md, run.</summary>
public sealed class CaseSnippets : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_case_that_was_added_gives_a_verdict()
    {
        using MemoryStorage storage = new(1 << 20);
        await using VhostUserBackend backend = new(new BlockDevice(storage));
        using CancellationTokenSource stop = new();
        Task serving = backend.ListenAsync(_folder.File("s"), stop.Token);
        BackendSuiteOptions options = new() { SocketPath = _folder.File("s"), Device = "blk", Timeout = TimeSpan.FromSeconds(10) };

        BackendExamination examination = new(options, await BackendProfiler.AskAsync(options));
        ConformanceResult result = await examination.RunAsync(WaitingChapter.Cases.Single(), stop.Token);

        (result.Case.Id, result.Verdict, result.Came).Should().Be(("waiting/kick-before-enable", ConformanceVerdict.Pass, ""));
        await stop.CancelAsync();
        await serving.InTime();
    }
}

// snippet: chapter
/// <summary>What waits in a ring that is not served yet.</summary>
internal static class WaitingChapter
{
    public static Chapter Cases { get; } = new("waiting", "vhost-user: Ring states", CaseNeeds.Working)
    {
        { "kick-before-enable", Must, "A kick that comes before the ring is enabled is not lost", KickBeforeEnableAsync },
    };

    private static async Task KickBeforeEnableAsync(BackendPeer peer)
    {
        DriverRing ring = await peer.BeginRingsAsync().ConfigureAwait(false);   // negotiated, memory shared
        await peer.DescribeAsync(ring).ConfigureAwait(false);                   // size, base, addresses, call
        await peer.DriverReadyAsync().ConfigureAwait(false);
        await peer.SendKickAsync(ring).ConfigureAwait(false);
        Work work = peer.Device.NewWork(peer.Memory);                           // something that this kind of device can do
        uint id = ring.Offer(work.Chain);
        ring.Notify();
        await peer.BarrierAsync().ConfigureAwait(false);                        // everything before has been handled
        await peer.EnableAsync(ring).ConfigureAwait(false);
        await RingWork.FinishAsync(ring, work, id, "what was kicked before the ring was enabled is served after it").ConfigureAwait(false);
    }
}

// end
