using Vhost.Backend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>The dirty log that QEMU shares with the back-end of a guest's disk, seen by somebody between them.</summary>
[Collection(GuestCollection.Name)]
public sealed class MigrationLogTests : IDisposable
{
    private const ulong PageSize = DirtyLog.PageSize;

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    /// <summary>
    /// QEMU takes the marks when it looks for what is left to be sent: at once when the migration begins, and then when little is left. In between there is all the time that the last piece of memory takes on
    /// a slow line, and in that the disk is read: whatever it writes then is still in the log.
    /// </summary>
    [SkippableFact]
    [Shows(Counterpart.Qemu, VhostUserRequest.SetLogBase, VhostUserProtocolFeatures.LogShmFd, VirtioFeatures.LogAll)]
    public async Task The_log_that_QEMU_shares_has_every_page_that_the_disk_wrote_and_beside_these_those_of_its_ring_alone()
    {
        using NotingDisk disk = new();
        await using VhostUserBackend backend = new(disk);
        using CancellationTokenSource stop = new();
        Task serving = backend.ListenAsync(_folder.File("backend"), stop.Token);
        await using (Interposer between = new(_folder.File("s"), _folder.File("backend")))
        {
            await using Guest guest = await Guest.BootAsync(new GuestCommand().WithDisk(between.Socket).WithMemoryThatGoesLast(_folder.File("last")));
            await guest.RunAsync("modprobe virtio_blk; head -c 1000000 /dev/vda > /dev/null");
            InterposedSession session = await between.SessionAsync();
            session.Memory.TryTranslate(RingOf(backend).DescriptorTable, 1, out GuestAddress table).Should().BeTrue();
            disk.NoteFromNowOn(session.Memory, table);

            await guest.Monitor.SendAsync($"exec:cat > {_folder.File("state")}", async () =>
            {
                int before = disk.NotedCount;
                await guest.RunAsync("echo 3 > /proc/sys/vm/drop_caches; cat /dev/vda > /dev/null");

                HashSet<ulong> logged = Marked(session.Log!);
                disk.Noted(without: before).Should().BeSubsetOf(logged).And.HaveCountGreaterThan(500);
                logged.Except(UsedRingPages(backend)).Should().BeSubsetOf(disk.Noted());
                session.ShouldShow(Claims.OfTest<MigrationLogTests>());
            });
        }

        await stop.CancelAsync();
        await serving.InTime();
    }

    private static VhostUserVringAddress RingOf(VhostUserBackend backend) => backend.GetStatus()!.Queues[0].Address!.Value;

    private static IEnumerable<ulong> UsedRingPages(VhostUserBackend backend)
    {
        VhostUserVringAddress ring = RingOf(backend);
        ring.Flags.Should().Be(VhostUserVringAddress.LogUsedRing);
        ulong bytes = SplitRingLayout.UsedRingSize((uint)backend.GetStatus()!.Queues[0].Size);
        for (ulong page = ring.LogGuestAddress / PageSize; page <= (ring.LogGuestAddress + bytes - 1) / PageSize; page++)
            yield return page;
    }

    /// <summary>Leaves the marks to QEMU.</summary>
    private static HashSet<ulong> Marked(DirtyLog log)
    {
        HashSet<ulong> pages = [];
        for (ulong page = 0; page < log.PageCount; page++)
        {
            if (log.IsMarked(new GuestAddress(page * PageSize)))
                pages.Add(page);
        }

        return pages;
    }
}
