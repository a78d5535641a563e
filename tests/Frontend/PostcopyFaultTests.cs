using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Back-ends that wait for pages: for those that they were given, for others, in memory that has gone, and without end.</summary>
[Collection(ProcessCounts.Name)]
public sealed class PostcopyFaultTests : CountedTests
{
    private const ulong Page = PostcopyScene.Page;
    private const ulong Size = PostcopyScene.Size;
    private const ulong Other = PostcopyScene.Other;

    [Fact]
    public async Task F01_A_fault_outside_of_what_was_given_ends_the_session_and_not_the_migration()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        using SharedMemory own = SharedMemory.CreateSealed("own", Page);
        using IncomingMemory elsewhere = IncomingMemory.Beside(own, scene.Faults);

        Task<int> waits = Task.Run(() => elsewhere.BringIn(0, 1));

        await scene.Lost<VhostUserProtocolException>("in none of the 2 regions");
        elsewhere.Dispose();
        (await waits.InTime()).Should().Be(Libc.ECANCELED);
        scene.Migration.Completion.IsCompleted.Should().BeFalse();
        scene.Migration.Place(default, new byte[Page]).Should().Be((int)Page);
    }

    [Fact]
    public async Task F01_A_descriptor_that_is_readable_with_nothing_to_read_does_not_keep_us_busy()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        ClearNonBlocking(scene.Faults.Descriptor); // poll(2) reports an error from now on, once it is asked again
        Task<int> waits = Task.Run(() => scene.Theirs[0].BringIn(0, 1));

        await scene.Lost<VhostUserProtocolException>("again and again");
        scene.Migration.Place(default, new byte[Page]);
        scene.Theirs[0].Dispose();
        await waits.InTime();
    }

    /// <summary>Before Linux 6.10 no read of a userfaultfd can be told not to wait.</summary>
    [Fact]
    public async Task F01_A_descriptor_that_would_make_us_wait_does_not_the_old_way_either()
    {
        using UserFaults theirs = UserFaults.Open();
        using UserFaults ours = UserFaults.Of(theirs.Duplicate(), mayWait: true);
        using SharedMemory memory = SharedMemory.CreateSealed("own", Page);
        using IncomingMemory waited = IncomingMemory.Beside(memory, theirs);
        TaskCompletionSource<Exception> failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        FaultListener listener = new(ours, static _ => { }, failed.SetResult);
        ClearNonBlocking(theirs.Descriptor);
        Task<int> waits = Task.Run(() => waited.BringIn(0, 1));

        (await failed.Task.InTime()).Should().BeOfType<VhostUserProtocolException>().Which.Message.Should().Contain("again and again");

        await listener.DisposeAsync().InTime();
        waited.Dispose();
        await waits.InTime();
    }

    [Fact]
    public async Task A_listener_that_is_held_up_is_left_behind()
    {
        using UserFaults faults = UserFaults.Open();
        using SharedMemory memory = SharedMemory.CreateSealed("own", Page);
        using IncomingMemory waited = IncomingMemory.Beside(memory, faults);
        using ManualResetEventSlim heard = new();
        using ManualResetEventSlim release = new();
        TaskCompletionSource<Exception> failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        FaultListener listener = new(
            faults,
            _ =>
            {
                heard.Set();
                release.Wait();
                throw new InvalidOperationException("released");
            },
            failed.SetResult);
        Task<int> waits = Task.Run(() => waited.BringIn(0, 1));
        await Task.Run(heard.Wait).InTime();

        await listener.DisposeAsync().InTime();

        failed.Task.IsCompleted.Should().BeFalse();
        release.Set();
        await failed.Task.InTime();
        waited.Dispose();
        await waits.InTime();
    }

    [Fact]
    public async Task Who_waits_in_memory_that_is_replaced_is_served_at_both_addresses()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        Task<int> before = Task.Run(() => scene.Theirs[0].BringIn(0, 1));
        await scene.Asked.Task.InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        Task<int>[] waits = [before, Task.Run(() => scene.Theirs[0].BringIn(Page, 1)), Task.Run(() => scene.Theirs[2].BringIn(0, 1)), Task.Run(() => scene.Theirs[2].BringIn(Page, 1))];
        await Eventually.TrueAsync(() => scene.Migration.RequestedPages == 2);

        scene.Migration.Place(default, new byte[2 * Page]);

        (await Task.WhenAll(waits).InTime()).Should().AllBeEquivalentTo(0);
        scene.Dialogue.Session.Completion.IsCompleted.Should().BeFalse();
        scene.Migration.RequestedPages.Should().Be(2);
    }

    [Fact]
    public async Task Who_waits_in_memory_that_is_removed_is_served()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Both);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        await scene.Dialogue.Session.RemoveMemoryAsync(scene.Memory.Regions[1]).InTime();
        Task<int> waits = Task.Run(() => scene.Theirs[1].BringIn(0, 1));

        (await scene.Asked.Task.InTime()).Address.Should().Be(new GuestAddress(Other));
        scene.Migration.Place(new GuestAddress(Other), new byte[Page]);

        (await waits.InTime()).Should().Be(0);
        scene.Dialogue.Session.Completion.IsCompleted.Should().BeFalse();
    }

    [Fact]
    public async Task Who_waits_in_a_region_before_its_address_has_been_said_is_served_once_it_has()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Both);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        Task<int>? waits = null;
        scene.Dialogue.Backend.Misbehave = (request, _) =>
        {
            Misbehaviour? answer = scene.Answer(request);
            if (request.Code == VhostUserRequest.AddMemReg && request.Payload.Length > 8 && waits is null)
            {
                waits = Task.Run(() => scene.Theirs[0].BringIn(0, 1));
                SpinWait.SpinUntil(() => Libc.Poll(scene.Faults.Descriptor, Libc.POLLIN, 0) == Libc.POLLIN, TimeSpan.FromSeconds(1));
                SpinWait.SpinUntil(() => Libc.Poll(scene.Faults.Descriptor, Libc.POLLIN, 0) == 0); // it has been read
            }

            return answer;
        };

        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();

        (await scene.Asked.Task.InTime()).Address.Should().Be(new GuestAddress(0));
        scene.Migration.Place(default, new byte[Page]);
        (await waits!.InTime()).Should().Be(0);
        scene.Dialogue.Session.Completion.IsCompleted.Should().BeFalse();
    }

    [Fact]
    public async Task Who_waits_for_a_hole_that_was_said_to_be_there_finds_zeros()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        scene.MarkAllArrived();

        (await Task.Run(() => scene.Theirs[0].BringIn(0, Page)).InTime()).Should().Be(0);

        using GuestMemoryLease lease = scene.Memory.Acquire();
        lease.TryRead(new GuestAddress(17), out ulong there).Should().BeTrue();
        there.Should().Be(0);
        scene.Migration.RequestedPages.Should().Be(0);
    }

    [Fact]
    public void F06_One_who_says_again_and_again_that_he_waits_takes_no_more_memory()
    {
        using UserFaults faults = UserFaults.Open();
        using GuestMemory memory = GuestRam.Create(Size);
        using PostcopyRegion region = new(memory.Regions[0], faults);
        region.Await(1, new PageWaker(faults, Page, Page)).Should().BeTrue();
        long before = GC.GetTotalMemory(forceFullCollection: true);
        for (int i = 0; i < 1_000_000; i++)
            region.Await(1, new PageWaker(faults, Page, Page)).Should().BeFalse();

        (GC.GetTotalMemory(forceFullCollection: true) - before).Should().BeLessThan(1 << 20);
    }

    [Fact]
    public async Task A_fault_is_asked_for_once_and_all_who_wait_go_on()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        Task<int>[] waits = [.. Enumerable.Range(0, 4).Select(_ => Task.Factory.StartNew(() => scene.Theirs[1].BringIn(Page + 5, 1), TaskCreationOptions.LongRunning))];
        (GuestAddress Address, ulong Length) asked = await scene.Asked.Task.InTime();
        asked.Should().Be((new GuestAddress(Other + Page), Page));
        Task own = scene.Migration.BringInAsync(new GuestAddress(Other + Page), 1).AsTask();

        scene.Migration.Place(asked.Address, Enumerable.Repeat((byte)0x5a, (int)Page).ToArray());

        (await Task.WhenAll(waits).InTime()).Should().AllBeEquivalentTo(0);
        await own.InTime();
        scene.Migration.RequestedPages.Should().Be(1);
        using GuestMemoryLease lease = scene.Memory.Acquire();
        lease.TryRead(new GuestAddress(Other + Page + 17), out byte there).Should().BeTrue();
        there.Should().Be(0x5a);
        scene.Theirs[1].BringIn(Page, Page).Should().Be(0, "a page that is there is waited for by nobody");
    }

    [Fact]
    public async Task F03_A_back_end_that_dies_while_it_waits_costs_its_session_alone()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        Task<int> waits = Task.Run(() => scene.Theirs[0].BringIn(0, 1));
        (GuestAddress Address, ulong Length) asked = await scene.Asked.Task.InTime();
        scene.Dialogue.Backend.Connection.Abort();
        await scene.Lost<VhostUserDisconnectedException>("");

        scene.Migration.Place(asked.Address, new byte[Page]);
        (await waits.InTime()).Should().Be(0);
        scene.MarkAllArrived();
        await scene.Migration.EndAsync().InTime();
    }

    [Fact]
    public async Task F03_A_back_end_that_goes_on_without_a_page_ends_the_migration()
    {
        await using PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        Task<int> waits = Task.Run(() => scene.Theirs[1].BringIn(Page, 1));
        (GuestAddress Address, ulong Length) asked = await scene.Asked.Task.InTime();
        scene.Faults.Release((nint)scene.Theirs[1].WatchedAddress, (nuint)Size);
        await waits.InTime();

        scene.Migration.Invoking(one => one.Place(new GuestAddress(Other), new byte[3 * Page])).Should().Throw<InvalidDataException>().WithMessage("*guest 0x100001000 is there although it has not arrived*");

        await scene.Migration.Invoking(one => one.Completion.InTime()).Should().ThrowAsync<InvalidDataException>();
        scene.Migration.MissingBytes.Should().Be((2 * Size) - Page, "only the page before it has arrived");
        scene.Migration.DuplicatePages.Should().Be(0);
        scene.Migration.Place(default, new byte[Page]).Should().Be((int)Page);
        scene.Migration.Place(asked.Address.Value == Other + Page ? new GuestAddress(Other) : default, new byte[Page]).Should().Be(0, "that one was placed");
    }

    [Fact]
    public async Task Pages_that_come_twice_at_the_same_moment_are_placed_once()
    {
        using GuestMemory memory = GuestRam.Create(512 * Page);
        for (int i = 0; i < 50; i++)
        {
            await using (PostcopyMigration migration = new(memory, static (_, _, _) => default))
            {
                int[] placed = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => Enumerable.Range(0, 512).Sum(page => migration.Place(new GuestAddress((ulong)page * Page), new byte[Page]))))).InTime();
                placed.Sum().Should().Be(512 * (int)Page);
                migration.DuplicatePages.Should().Be(3 * 512);
                await migration.Completion.InTime();
            }

            Libc.Allocate(memory.Regions[0].Memory.Descriptor, Libc.FALLOC_FL_PUNCH_HOLE | Libc.FALLOC_FL_KEEP_SIZE, 0, 512 * Page).Should().Be(0);
        }
    }

    private static void ClearNonBlocking(SafeFileHandle descriptor) => fcntl(descriptor, 4, 0).Should().Be(0);

    [DllImport("libc")]
    private static extern int fcntl(SafeHandle descriptor, int command, nint argument);
}
