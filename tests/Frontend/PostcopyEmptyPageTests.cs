using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Pages that were marked as arrived and that the memory's file has not: they are empty, and made when somebody touches them.</summary>
[Collection(ProcessCounts.Name)]
public sealed class PostcopyEmptyPageTests : CountedTests
{
    private const ulong Page = PostcopyScene.Page;
    private const ulong Other = PostcopyScene.Other;

    [Fact]
    public async Task Empty_memory_takes_none_but_the_pages_that_somebody_has_touched()
    {
        await using PostcopyScene scene = await StartAsync(size: 512UL << 20);
        scene.MarkAllArrived();
        await scene.Migration.Completion.InTime();
        scene.Migration.MissingBytes.Should().Be(0);
        PagesIn(scene, 0).Should().Be(0);
        scene.Memory.HasArrived(new GuestAddress(Page), 2 * Page).Should().BeTrue("nobody has to be asked");

        (await Task.Run(() => scene.Theirs[0].BringIn(5 * Page, 1)).InTime()).Should().Be(0, "a back-end touches it");
        (await ReadAsync(scene, 9 * Page)).Should().Be(0);
        await scene.Migration.BringInAsync(new GuestAddress(Other + (3 * Page) + 7), Page).InTime();

        (PagesIn(scene, 0), PagesIn(scene, 1)).Should().Be((2, 2));
        scene.Migration.RequestedPages.Should().Be(0, "the source has nothing for them");

        await scene.Migration.EndAsync().InTime();

        (PagesIn(scene, 0), PagesIn(scene, 1)).Should().Be((2, 2));
        (await ReadAsync(scene, 100 * Page)).Should().Be(0);
    }

    [Fact]
    public async Task What_comes_for_a_page_that_is_marked_is_not_placed()
    {
        await using PostcopyScene scene = await StartAsync();
        scene.Migration.MarkArrived(new GuestAddress(Page), Page);

        scene.Migration.Place(default, [.. Enumerable.Repeat((byte)0x5a, 3 * (int)Page)]).Should().Be(2 * (int)Page);

        scene.Migration.DuplicatePages.Should().Be(1);
        PagesIn(scene, 0).Should().Be(2);
        (await ReadAsync(scene, Page - 1)).Should().Be(0x5a);
        (await ReadAsync(scene, Page)).Should().Be(0);
        (await ReadAsync(scene, 2 * Page)).Should().Be(0x5a);
    }

    [Fact]
    public async Task Who_waits_for_a_page_when_it_is_marked_goes_on()
    {
        await using PostcopyScene scene = await StartAsync();
        Task<int> theirs = Task.Run(() => scene.Theirs[0].BringIn(0, 1));
        await scene.Asked.Task.InTime();
        Task<byte> ours = ReadAsync(scene, Page);
        await Eventually.TrueAsync(() => scene.Migration.RequestedPages == 2);
        ValueTask awaited = scene.Migration.BringInAsync(default, 3 * Page);
        awaited.IsCompleted.Should().BeFalse();

        scene.Migration.MarkArrived(default, 3 * Page);

        await awaited.InTime();
        (await theirs.InTime()).Should().Be(0);
        (await ours.InTime()).Should().Be(0);
        PagesIn(scene, 0).Should().Be(3);
    }

    [Fact]
    public async Task Many_who_touch_the_same_empty_pages_at_once_find_zeros()
    {
        const int Pages = 512;
        await using PostcopyScene scene = await StartAsync(size: Pages * Page);
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime(); // a second mapping of the back-end
        scene.MarkAllArrived();
        Action<ulong>[] touches =
        [
            page => scene.Theirs[0].BringIn(page * Page, 1).Should().Be(0),
            page => scene.Theirs[2].BringIn(page * Page, 1).Should().Be(0),
            page => Read(scene, page * Page).Should().Be(0),
            page => scene.Migration.BringInAsync(new GuestAddress(page * Page), 1).AsTask().Wait(),
        ];

        await Task.WhenAll(touches.Select(touch => Task.Factory.StartNew(
            () =>
            {
                for (ulong page = 0; page < Pages; page++)
                    touch(page);
            },
            TaskCreationOptions.LongRunning))).InTime();

        (PagesIn(scene, 0), PagesIn(scene, 1)).Should().Be((Pages, 0));
    }

    private static async Task<PostcopyScene> StartAsync(ulong size = PostcopyScene.Size)
    {
        PostcopyScene scene = await PostcopyScene.StartAsync(PostcopyScene.Options, size);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        return scene;
    }

    /// <summary>Pages that the file of a region has.</summary>
    private static int PagesIn(PostcopyScene scene, int region) => (int)(FileHoles.BytesOf(scene.Memory.Regions[region].Memory.Descriptor) / Page);

    private static Task<byte> ReadAsync(PostcopyScene scene, ulong address) => Task.Run(() => Read(scene, address)).InTime();

    private static byte Read(PostcopyScene scene, ulong address)
    {
        using GuestMemoryLease lease = scene.Memory.Acquire();
        lease.TryRead(new GuestAddress(address), out byte there).Should().BeTrue();
        return there;
    }
}
