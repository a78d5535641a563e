using System.Globalization;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>A kernel that takes no more requests, as when a sandbox is tightened while a disk is served.</summary>
[Collection(ProcessCounts.Name)]
public sealed class FileRefusedTests
{
    private const int Requests = 8;

    [SkippableTheory]
    [InlineData(QueueDispatch.Async)]
    [InlineData(QueueDispatch.DedicatedThread)]
    public async Task R19_requests_that_the_kernel_refuses_for_good_break_the_queue_keep_nothing_and_do_not_spin(QueueDispatch dispatch)
    {
        using TempImage image = new(1 << 20);
        using FileStorage storage = FileStorage.Open(image.Path, new FileStorageOptions { Aio = FileAio.Auto });
        Skip.IfNot(storage.IsAsynchronous, "there is no io_uring for files here");
        await RunAsync(storage, dispatch, static _ => Task.CompletedTask);
        ProcessCounts before = ProcessCounts.Snapshot();
        await RunAsync(storage, dispatch, async session =>
        {
            RawDescriptors.Replace(RingDescriptor(), "/dev/null");
            Submit(session, first: Requests);
            await Eventually.TrueAsync(() => session.Log.Lines.Any(line => line.Contains("broken", StringComparison.Ordinal)));
            session.Log.Lines.Should().ContainMatch("*queue 0 (*): broken*io_uring_enter*");
            await ProcessHealth.AssertIdleAsync();
        });
        before.AssertBack();
    }

    private static async Task RunAsync(FileStorage storage, QueueDispatch dispatch, Func<FileSession, Task> act)
    {
        VhostUserBackendOptions options = new() { Dispatch = dispatch, DrainTimeout = TimeSpan.FromSeconds(1) };
        await using FileSession session = await FileSession.StartAsync(storage, options);
        await session.StartRingAsync(keepRequests: false);
        Submit(session, first: 0);
        session.AwaitUsed(Requests);
        await act(session);
    }

    private static void Submit(FileSession session, int first)
    {
        for (int slot = first; slot < first + Requests; slot++)
            session.Submit(slot, VirtioBlkRequestType.In, 0, pieces: 1);
        session.Kick();
    }

    private static int RingDescriptor() => Directory.EnumerateFileSystemEntries("/proc/self/fd")
        .Where(entry => new FileInfo(entry).LinkTarget is "anon_inode:[io_uring]")
        .Select(entry => int.Parse(Path.GetFileName(entry), CultureInfo.InvariantCulture))
        .Single();
}
