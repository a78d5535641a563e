using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>Which pages of a guest are there when it goes on, which come again, and how they are counted.</summary>
public sealed class PostcopyArrivalTests
{
    [Fact]
    public async Task What_came_before_the_guest_was_moved_is_not_asked_for()
    {
        using PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 8);
        using GuestMemory here = PostcopyDisk.NewMemory();
        guest.CopyTo(here);
        await using PostcopyMigration migration = new(here, static (_, _, _) => throw new InvalidOperationException("nothing is missing"));
        migration.MissingBytes.Should().BePositive();
        foreach (GuestMemoryRegion region in here.Regions)
            migration.MarkArrived(region.GuestAddress, region.Size);

        await migration.Completion.InTime();
        BlockDevice disk = guest.NewDisk(out _);
        await using PostcopyPair pair = await PostcopyPair.StartAsync(disk, VirtioFeatures.Version1);
        await migration.JoinAsync(pair.Frontend).InTime();
        await pair.Frontend.SetMemoryAsync(here).InTime();
        await pair.Frontend.StartVringAsync(guest.Ring(pair.Kick)).InTime();

        await PostcopyDisk.AllDoneAsync(disk);
        await migration.EndAsync().InTime();
        migration.RequestedPages.Should().Be(0);
    }

    [Fact]
    public async Task What_came_before_and_is_old_comes_again()
    {
        using PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 8);
        using GuestMemory here = PostcopyDisk.NewMemory();
        using PageSource source = new(guest.Source, seed: 4);
        using GuestMemoryLease lease = here.Acquire();
        byte[] old = new byte[3 * 4096];
        old.AsSpan().Fill(0xCC);
        GuestAddress at = new(PostcopyDisk.DataAt + 4096);
        lease.TryCopyFrom(old, at).Should().BeTrue();
        await using PostcopyMigration migration = new(here, source.AskAsync);
        migration.Discard(at, 2 * 4096);
        migration.MarkArrived(new GuestAddress(at.Value + (2 * 4096)), 4096);

        source.SendRest(migration);

        byte[] now = new byte[3 * 4096];
        byte[] there = new byte[3 * 4096];
        lease.TryCopyTo(at, now).Should().BeTrue();
        using GuestMemoryLease origin = guest.Source.Acquire();
        origin.TryCopyTo(at, there).Should().BeTrue();
        now[..(2 * 4096)].Should().Equal(there[..(2 * 4096)]);
        now[(2 * 4096)..].Should().OnlyContain(one => one == 0xCC, "it was said to be what it has to be");
        migration.Invoking(one => one.Discard(at, 4096)).Should().Throw<InvalidOperationException>().WithMessage("*offset 0x1000 of*has arrived*cannot be discarded*");
    }

    [Fact]
    public async Task What_is_marked_and_not_in_the_file_is_empty_and_nobody_waits_for_it()
    {
        using PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 8);
        using GuestMemory here = PostcopyDisk.NewMemory();
        using PageSource source = new(guest.Source, seed: 4);
        await using PostcopyMigration migration = new(here, static (_, _, _) => throw new InvalidOperationException("nothing is missing"));
        GuestAddress at = new(PostcopyDisk.DataAt + 4096);
        migration.MarkArrived(at, 2 * 4096);

        using GuestMemoryLease lease = here.Acquire();
        byte[] bytes = new byte[2 * 4096];
        (await Task.Run(() => lease.TryCopyTo(at, bytes)).InTime()).Should().BeTrue();
        bytes.Should().OnlyContain(one => one == 0);
        migration.Place(at, new byte[4096]).Should().Be(0, "it is there");
        migration.DuplicatePages.Should().Be(1);
    }

    [Fact]
    public async Task A_page_that_somebody_waited_for_is_counted_once_whoever_sees_it_first()
    {
        using PostcopyDisk guest = new(VirtioFeatures.Version1, seed: 8);
        using GuestMemory here = PostcopyDisk.NewMemory();
        using PageSource source = new(guest.Source, seed: 4);
        using CancellationTokenSource stop = new();
        await using PostcopyMigration migration = new(here, source.AskAsync);
        Task sending = source.SendAskedAsync(migration, stop.Token);
        using GuestMemoryLease lease = here.Acquire();
        await Task.Run(() =>
        {
            for (ulong page = 0; page < 200; page++)
                lease.TryRead(new GuestAddress(PostcopyDisk.DataAt + (page * 4096)), out byte _).Should().BeTrue();
        }).InTime();
        await stop.CancelAsync();
        await sending.InTime();

        (migration.MissingBytes + ((ulong)(source.Sent - migration.DuplicatePages) * 4096)).Should().Be((ulong)here.Regions.Sum(static region => (long)region.Size));
    }
}
