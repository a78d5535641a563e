using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Memory in a file system that is full: pages that are there take no more of it, and those that are not can be had by nobody.</summary>
[Collection(ProcessCounts.Name)]
public sealed class PostcopyFullTests
{
    private const ulong Page = PostcopyScene.Page;

    [SkippableFact]
    public async Task Whoever_touches_an_empty_page_for_which_nothing_is_left_hears_of_it()
    {
        const ulong Size = 8 << 20;
        const ulong Hole = 5 << 20;
        using SmallFileSystem? full = SmallFileSystem.TryMount();
        Skip.If(full is null, "this process may mount nothing");
        ProcessCounts before = ProcessCounts.Snapshot();
        SharedMemory ram = SharedMemory.CreateFileBacked(full.File("ram", (long)Size), Size);
        Libc.Allocate(ram.Descriptor, Libc.FALLOC_FL_KEEP_SIZE, 0, 4 << 20).Should().Be(0, "that is all there is");
        GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(default, ram, new UserAddress(GuestRam.UserOffset)));
        PostcopyMigration migration = new(memory, static (_, _, _) => default);
        migration.MarkArrived(default, Size - Page);
        using (GuestMemoryLease lease = memory.Acquire())
        {
            (await Task.Run(() => lease.TryRead(new GuestAddress(Page), out byte _)).InTime()).Should().BeTrue();
            await migration.BringInAsync(default, 4 << 20).InTime();
            (await Task.Run(() => lease.TryRead(new GuestAddress(Hole), out byte _)).InTime()).Should().BeFalse();
        }

        (await migration.Invoking(static one => one.BringInAsync(new GuestAddress(Hole), 1).InTime()).Should().ThrowAsync<LinuxException>()).Which.Errno.Should().Be(28, "no space is left");
        migration.Completion.IsCompleted.Should().BeFalse();
        Task waits = Task.Factory.StartNew(() => Libc.madvise(ram.Address + (nint)Hole, (nuint)Page, Libc.MADV_POPULATE_WRITE), TaskCreationOptions.LongRunning);
        await migration.Invoking(static one => one.Completion.InTime()).Should().ThrowAsync<LinuxException>();

        await migration.DisposeAsync().InTime();
        await waits.InTime();
        memory.Dispose();
        ram.Dispose();
        before.AssertBack();
    }
}
