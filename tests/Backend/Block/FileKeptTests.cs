using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>A disk that answers only when the test lets it: what the session does meanwhile, and that each request is answered once.</summary>
[Collection(ProcessCounts.Name)]
public sealed class FileKeptTests
{
    private const int Requests = 8;

    private static readonly byte[] _content = RandomNumbers();

    public static TheoryData<QueueDispatch, FileCache> Ways => FileInFlightTests.Ways;

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public Task R19_a_stop_waits_for_the_disk_and_each_request_is_answered_once(QueueDispatch dispatch, FileCache cache) =>
        WithRequestsInFlightAsync(dispatch, cache, async (session, files) =>
        {
            Task<uint> stopping = session.StopRingAsync();
            await Eventually.TrueAsync(() => files.Kept > 0);
            stopping.IsCompleted.Should().BeFalse("the disk has not answered");
            session.UsedIndex.Should().Be(0);
            files.AnswerKept();
            (await stopping).Should().Be(Requests);
            AllAnsweredOnce(session);
        });

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public Task R19_memory_that_is_removed_stays_mapped_until_the_disk_has_answered(QueueDispatch dispatch, FileCache cache) =>
        WithRequestsInFlightAsync(dispatch, cache, async (session, files) =>
        {
            int mapped = MappingsOfData();
            Task removing = session.Frontend.RemoveMemoryAsync(session.Data);
            await Eventually.TrueAsync(() => files.Kept > 0);
            removing.IsCompleted.Should().BeFalse("the disk writes there");
            MappingsOfData().Should().Be(mapped);
            files.AnswerKept();
            await removing;
            MappingsOfData().Should().Be(mapped - 1);
            session.AwaitUsed(Requests);
            AllAnsweredOnce(session);
        });

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public Task R19_a_table_that_is_replaced_under_requests_is_given_up_with_the_last_of_them(QueueDispatch dispatch, FileCache cache) =>
        WithRequestsInFlightAsync(dispatch, cache, async (session, files) =>
        {
            int mapped = MappingsOfData();
            Task replacing = session.ReplaceTableAsync();
            await Eventually.TrueAsync(() => MappingsOfData() == mapped + 1);
            replacing.IsCompleted.Should().BeFalse("requests were taken with the table before");
            files.AnswerKept();
            await replacing;
            MappingsOfData().Should().Be(mapped, "the new mapping is there and the old one is gone");
            session.AwaitUsed(Requests);
            AllAnsweredOnce(session);
            (await session.StopRingAsync()).Should().Be(Requests);
        });

    [SkippableTheory]
    [MemberData(nameof(Ways))]
    public async Task B38_a_front_end_that_goes_while_the_disk_is_silent_leaves_nothing_once_it_speaks(QueueDispatch dispatch, FileCache cache)
    {
        await WithRequestsInFlightAsync(dispatch, cache, (_, _) => Task.CompletedTask);
        ProcessCounts before = ProcessCounts.Snapshot();
        await WithRequestsInFlightAsync(dispatch, cache, async (session, files) =>
        {
            await session.Frontend.DisposeAsync();
            files.AnswerKept();
        });
        before.AssertBack();
    }

    private static async Task WithRequestsInFlightAsync(QueueDispatch dispatch, FileCache cache, Func<FileSession, FaultyFileSystem, Task> act)
    {
        using FaultyFileSystem? files = FaultyFileSystem.TryMount(_content, out string reason);
        Skip.If(files is null, reason);
        using LoopDevice loop = LoopDevice.Attach(files.FilePath);
        using FileStorage storage = FileCacheTests.Open(loop.Path, cache, FileAio.IoUring);
        await using FileSession session = await FileSession.StartAsync(storage, new VhostUserBackendOptions { Dispatch = dispatch });
        files.Keep();
        for (int slot = 0; slot < Requests; slot++)
            session.Submit(slot, VirtioBlkRequestType.In, 0, pieces: 1);
        await session.StartRingAsync();
        await Eventually.TrueAsync(() => files.Kept > 0);
        try
        {
            await act(session, files);
        }
        finally
        {
            files.AnswerKept();
        }
    }

    private static void AllAnsweredOnce(FileSession session)
    {
        session.UsedIndex.Should().Be(Requests);
        session.AllRead(Requests, pieces: 1);
        session.Data.ReadBytes(0, _content.Length).AsSpan().SequenceEqual(_content).Should().BeTrue();
        Enumerable.Range(0, Requests).Select(i => (int)session.Ring.UsedElement(i).Id).Should().BeEquivalentTo(Enumerable.Range(0, Requests));
    }

    private static byte[] RandomNumbers()
    {
        byte[] bytes = new byte[TestGuest.Size];
        new Random(6).NextBytes(bytes);
        return bytes;
    }

    /// <summary>Mappings of the region that the requests name, the front-end's own among them.</summary>
    private static int MappingsOfData() => File.ReadLines("/proc/self/maps").Count(line => line.Contains("memfd:test-1 ", StringComparison.Ordinal));
}
