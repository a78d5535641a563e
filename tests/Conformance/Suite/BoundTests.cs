using Microsoft.Win32.SafeHandles;
using Vhost.Conformance.Tests.Mutants;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>What a peer can keep busy for ever has an end.</summary>
public sealed class BoundTests
{
    private static readonly TimeSpan _patience = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan _quiet = TimeSpan.FromMilliseconds(10);

    [Fact]
    public async Task A_case_that_goes_on_for_ever_is_given_up_and_has_failed()
    {
        await using HandBackend backend = new();
        using CancellationTokenSource over = new();
        BackendSuiteOptions options = new() { SocketPath = backend.SocketPath, Device = "blk" };
        BackendExamination examination = new(options, await BackendProfiler.AskAsync(options)) { MostOfACase = _patience };

        ConformanceResult result = await examination.RunAsync(Case(_ => Task.Delay(Timeout.Infinite, over.Token)), default).InTime();
        await over.CancelAsync();

        result.Verdict.Should().Be(ConformanceVerdict.Fail);
        result.Expected.Should().Be("an end within 0.1 s");
        result.Severity.Should().Be(ConformanceSeverity.High, "the back-end serves the next front-end");
    }

    [Fact]
    public async Task It_has_half_a_minute_and_twenty_timeouts_for_that()
    {
        await using HandBackend backend = new();
        BackendSuiteOptions options = new() { SocketPath = backend.SocketPath, Device = "blk", Timeout = TimeSpan.FromSeconds(3) };

        BackendExamination examination = new(options, await BackendProfiler.AskAsync(options));

        examination.MostOfACase.Should().Be(TimeSpan.FromSeconds(90));
    }

    [Fact]
    public async Task Other_messages_without_end_are_no_answer_to_the_features()
    {
        using TempSocket socket = new();
        await using VhostUserListener listener = VhostUserListener.Listen(socket.Path);
        BackendProfile profile = new(DeviceModel.ByName("generic")!, VirtioFeatures.None, VhostUserProtocolFeatures.None, 0, "");
        await using BackendPeer peer = await BackendPeer.ConnectAsync(socket.Path, profile, CaseNeeds.Nothing, new Dialogue(), new(TimeSpan.FromSeconds(3))); // which each message has, too
        await using VhostUserConnection flooding = await listener.AcceptAsync().InTime();
        TaskCompletionSource begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task flood = FloodAsync(flooding, begun);
        await begun.Task.InTime();

        CaseEndedException ended = (await peer.Awaiting(static peer => peer.GoesOnAsync().InTime()).Should().ThrowAsync<CaseEndedException>()).Which;

        ended.Expected.Should().Be("a reply to GET_FEATURES");
        ended.Came.Should().Be("other messages without end");
        await peer.CloseAsync();
        await flood.InTime();
    }

    [Fact]
    public async Task A_counter_that_cannot_be_filled_is_not_tried_for_ever()
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (writer)
        using (EventNotifier unwritable = new(reader))
        {
            await FailsToFillAsync(unwritable);
        }
    }

    [Fact]
    public async Task Nor_is_a_write_that_waits_waited_for_for_ever()
    {
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        using (reader)
        using (EventNotifier waiting = new(writer))
        {
            Fill(writer);
            await FailsToFillAsync(waiting);
            reader.Dispose(); // which ends the write
        }
    }

    private static async Task FailsToFillAsync(EventNotifier counter) =>
        (await counter.Awaiting(static counter => HostilePlaces.FillAsync(counter, _quiet, _patience).InTime()).Should().ThrowAsync<CaseEndedException>())
            .Which.Came.Should().Be("the peer fills it all the time");

    private static void Fill(SafeFileHandle writer)
    {
        while (Libc.WriteNoWait(writer, new byte[4096]) > 0)
        {
        }
    }

    private static BackendCase Case(Func<BackendPeer, Task> run) => new(new("bounds/case", "bounds", "A case", "", ConformanceLevel.Must), CaseNeeds.Nothing, run);

    /// <summary>Answers with what nobody asked for, until nobody listens.</summary>
    private static async Task FloodAsync(VhostUserConnection connection, TaskCompletionSource begun)
    {
        VhostUserHeader other = new((uint)VhostUserRequest.GetQueueNum, (VhostUserHeaderFlags)5, VhostUserU64.Size);
        try
        {
            while (true)
            {
                await connection.SendAsync(other, new byte[VhostUserU64.Size]);
                begun.TrySetResult();
            }
        }
        catch (VhostUserException)
        {
            // The suite has gone.
        }
    }
}
