using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>The back-end is a process of its own: <c>vhost-user serve blk --postcopy</c>.</summary>
public sealed class PostcopyProcessTests : IDisposable
{
    private readonly TempFolder _folder = new();
    private readonly PostcopyDisk _guest = new(VirtioFeatures.Version1, seed: 21);
    private readonly GuestMemory _here = PostcopyDisk.NewMemory();
    private readonly EventNotifier _kick = new();

    private string Socket => _folder.File("s");

    private string Image => _folder.File("disk.img");

    public void Dispose()
    {
        _kick.Dispose();
        _here.Dispose();
        _guest.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task Requests_in_memory_that_comes_late_are_carried_out_by_another_process_as_if_it_had_been_there()
    {
        File.WriteAllBytes(Image, PostcopyDisk.Contents);
        using PageSource source = new(_guest.Source, seed: 3);
        using CancellationTokenSource stop = new();
        await using ChildProcess server = await ServeAsync();
        await using PostcopyMigration migration = new(_here, source.AskAsync);
        Task sending = source.SendAskedAsync(migration, stop.Token);
        await using VhostUserFrontend session = await ConnectAsync();

        FrontendVring ring = await StartAsync(migration, session);
        await AllUsedAsync();

        await stop.CancelAsync();
        await sending.InTime();
        await FinishAsync(migration, source, ring);
    }

    [Fact]
    public async Task A_process_that_is_killed_while_it_waits_for_a_page_is_followed_by_another_one()
    {
        File.WriteAllBytes(Image, PostcopyDisk.Contents);
        using PageSource source = new(_guest.Source, seed: 3);
        using CancellationTokenSource stop = new();
        TaskCompletionSource waits = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using PostcopyMigration migration = new(_here, (address, length, cancellation) =>
        {
            if (address.Value >= PostcopyDisk.DataAt)
                waits.TrySetResult();
            return source.AskAsync(address, length, cancellation);
        });
        await using (ChildProcess first = await ServeAsync())
        {
            await using VhostUserFrontend lost = await ConnectAsync();
            foreach (ulong page in Enumerable.Range(0, 32).Select(page => (ulong)page * 4096))
                source.Send(migration, (new GuestAddress(page), 4096)); // the ring, so that its first request is looked at
            await StartAsync(migration, lost);
            await waits.Task.InTime();
            first.Signal(UnixSignal.Kill);
            await lost.Invoking(session => session.Completion.InTime()).Should().ThrowAsync<VhostUserDisconnectedException>();
        }

        Task sending = source.SendAskedAsync(migration, stop.Token);
        await using ChildProcess second = await ServeAsync();
        await using VhostUserFrontend session = await ConnectAsync();
        FrontendVring ring = await StartAsync(migration, session);
        await AllUsedAsync();

        await stop.CancelAsync();
        await sending.InTime();
        await FinishAsync(migration, source, ring);
    }

    [SkippableFact]
    public async Task A_back_end_that_may_have_no_userfaultfd_says_so_when_it_is_asked()
    {
        await OtherUser.RequireWithoutUserFaultsAsync(ToolProcess.Assembly);
        File.WriteAllBytes(Image, PostcopyDisk.Contents);
        (await ChildProcess.RunAsync("chmod", "a+rwx", Path.GetDirectoryName(Image)!, Image)).ExitCode.Should().Be(0);
        await using ChildProcess server = OtherUser.Start(ToolProcess.Assembly, "serve", "blk", "--socket-path", Socket, "--image", Image, "--aio", "sync", "--postcopy");
        await server.ErrorLineAsync("serving");
        await using PostcopyMigration migration = new(_here, static (_, _, _) => default);
        await using VhostUserFrontend session = await ConnectAsync();

        await migration.Invoking(one => one.JoinAsync(session).AsTask().InTime()).Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*POSTCOPY_ADVISE: 0 descriptors came with the reply; 1 allowed*");

        await server.ErrorLineAsync("/dev/userfaultfd");
    }

    private async Task FinishAsync(PostcopyMigration migration, PageSource source, FrontendVring ring)
    {
        (byte[] memory, byte[] disk) = await _guest.ExpectedAsync();
        await ring.StopAsync().InTime();
        source.SendRest(migration);
        await migration.Completion.InTime();
        await migration.EndAsync().InTime();
        _guest.OutcomeIn(_here).AsSpan().SequenceEqual(memory).Should().BeTrue("each byte of memory is what it would have been");
        File.ReadAllBytes(Image).AsSpan().SequenceEqual(disk).Should().BeTrue("each byte of the disk is what it would have been");
    }

    private Task<ChildProcess> ServeAsync() => ToolProcess.ServeAsync("--socket-path", Socket, "--image", Image, "--aio", "sync", "--postcopy");

    private Task<VhostUserFrontend> ConnectAsync() =>
        VhostUserFrontend.ConnectAsync(Socket, new VhostUserFrontendOptions { RequiredProtocolFeatures = VhostUserProtocolFeatures.PageFault }).InTime();

    private async Task<FrontendVring> StartAsync(PostcopyMigration migration, VhostUserFrontend session)
    {
        await migration.JoinAsync(session).InTime();
        await session.SetMemoryAsync(_here).InTime();
        return await session.StartVringAsync(_guest.Ring(_kick)).InTime();
    }

    private async Task AllUsedAsync()
    {
        using GuestMemoryLease lease = _here.Acquire();
        GuestAddress index = new(_guest.Ring(_kick).UsedRing.Value + 2);
        await Task.Run(() => Eventually.TrueAsync(() => lease.TryRead(index, out ushort used) && used == PostcopyDisk.Requests));
    }
}
