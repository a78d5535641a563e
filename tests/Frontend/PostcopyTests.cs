using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>Sessions that take part in a migration, and back-ends that answer it with what cannot be, or wait for what is not theirs.</summary>
[Collection(ProcessCounts.Name)]
[Shows(Counterpart.Script, VhostUserRequest.PostcopyAdvise, VhostUserRequest.PostcopyListen, VhostUserRequest.PostcopyEnd, VhostUserProtocolFeatures.PageFault)]
public sealed class PostcopyTests : CountedTests
{
    private const ulong Page = 4096;
    private const ulong Size = 16 * Page;
    private const ulong Other = 0x1_0000_0000;

    private static readonly BackendOffer _offer = new BackendOffer().With(VhostUserProtocolFeatures.PageFault);
    private static readonly VhostUserFrontendOptions _options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.PageFault };
    private static readonly VhostUserFrontendOptions _both =
        new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.PageFault | VhostUserProtocolFeatures.ConfigureMemSlots };

    [Fact]
    public async Task The_messages_are_in_order_and_the_table_asks_for_no_acknowledgement()
    {
        await using Scene scene = await Scene.StartAsync(_options);
        scene.Dialogue.Session.ProtocolFeatures.Should().NotHaveFlag(VhostUserProtocolFeatures.ConfigureMemSlots);
        int mark = scene.Dialogue.Backend.Mark();
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        scene.MarkAllArrived();
        await scene.Migration.EndAsync().InTime();

        scene.Dialogue.Backend.Since(mark).Should().Equal("POSTCOPY_ADVISE", "POSTCOPY_LISTEN !", "SET_MEM_TABLE 2 +2fd", "SET_MEM_TABLE 0", "GET_FEATURES", "POSTCOPY_END !");
        ScriptedRequest confirmation = scene.Dialogue.Backend.Requests.Last(request => request.Code == VhostUserRequest.SetMemTable);
        confirmation.Payload.Should().Equal(new byte[8]);
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        scene.Dialogue.Backend.Transcript[^1].Should().Be("SET_MEM_TABLE 2 +2fd !", "the migration is over");
    }

    [Fact]
    public async Task Region_by_region_they_are_confirmed_once()
    {
        await using Scene scene = await Scene.StartAsync(_both);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        int mark = scene.Dialogue.Backend.Mark();
        scene.Dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.AddMemReg && request.Payload.Length == 8 ? Misbehaviour.Nothing : scene.Answer(request);
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();

        ScriptedRequest[] said = [.. scene.Dialogue.Backend.Requests.Skip(mark)];
        said.Select(request => (request.Code, request.Payload.Length, request.WantsAcknowledgement)).Should().Equal(
            (VhostUserRequest.AddMemReg, 40, false), (VhostUserRequest.AddMemReg, 40, false), (VhostUserRequest.AddMemReg, 8, false), (VhostUserRequest.GetFeatures, 0, false));
    }

    [Theory]
    [InlineData("eventfd")]
    [InlineData("memory")]
    public async Task F04_A_descriptor_that_is_no_userfaultfd_ends_the_session(string kind)
    {
        await using Scene scene = await Scene.StartAsync(_options);
        using EventNotifier notifier = new();
        using SharedMemory memory = SharedMemory.CreateSealed("none", Page);
        SafeHandle wrong = kind == "eventfd" ? notifier.Descriptor : memory.Descriptor;
        scene.Dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.PostcopyAdvise ? Misbehaviour.Reply(request.Code, [], wrong) : null;

        await scene.Migration.Invoking(migration => migration.JoinAsync(scene.Dialogue.Session).InTime())
            .Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*no userfaultfd*");
        await scene.Lost<VhostUserProtocolException>("no userfaultfd");
    }

    [Fact]
    public async Task F04_An_answer_with_bytes_or_two_descriptors_ends_the_session()
    {
        foreach ((byte[] payload, int count) in new[] { (new byte[8], 1), (Array.Empty<byte>(), 2), (Array.Empty<byte>(), 0) })
        {
            await using Scene scene = await Scene.StartAsync(_options);
            scene.Dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.PostcopyAdvise
                ? Misbehaviour.Reply(request.Code, payload, [.. Enumerable.Repeat((SafeHandle)scene.Faults.Descriptor, count)])
                : null;
            await scene.Migration.Invoking(migration => migration.JoinAsync(scene.Dialogue.Session).InTime()).Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*POSTCOPY_ADVISE*");
        }
    }

    [Fact]
    public async Task A_back_end_that_refuses_is_named_and_the_session_goes_on()
    {
        await using Scene scene = await Scene.StartAsync(_options);
        scene.Dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.PostcopyListen ? Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL)) : scene.Answer(request);
        await scene.Migration.Invoking(migration => migration.JoinAsync(scene.Dialogue.Session).InTime()).Should().ThrowAsync<VhostUserRejectedException>().WithMessage("*POSTCOPY_LISTEN*");
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        scene.Dialogue.Backend.Transcript[^1].Should().Be("SET_MEM_TABLE 2 +2fd !");
    }

    [Fact]
    public async Task A_session_without_the_feature_is_told_so()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        using GuestMemory memory = GuestRam.Create(Size);
        await using PostcopyMigration migration = new(memory, static (_, _, _) => default);
        await migration.Invoking(one => one.JoinAsync(dialogue.Session).InTime()).Should().ThrowAsync<VhostUserFeatureException>().WithMessage("*POSTCOPY_ADVISE*PAGEFAULT*");
    }

    public static TheoryData<string, string, Func<VhostUserMemoryRegion[], VhostUserMemoryRegion[]>> Lies() => new()
    {
        { "one region less", "reply payload of 40 bytes", static told => told[..1] },
        { "one region more", "reply payload of 104 bytes", static told => [.. told, told[0]] },
        { "none", "0 regions, 2 were given", static _ => [] },
        { "another guest address", "were given", static told => [told[0] with { GuestAddress = new GuestAddress(Page) }, told[1]] },
        { "the other order", "were given", static told => [told[1], told[0]] },
        { "another size", "were given", static told => [told[0], told[1] with { Size = Size + Page }] },
        { "address 0", "says address 0x0", static told => [told[0] with { UserAddress = new UserAddress(0) }, told[1]] },
        { "an address inside a page", "in pages of 0x1000", static told => [told[0] with { UserAddress = new UserAddress(told[0].UserAddress.Value + 8) }, told[1]] },
        { "past the end", "fits below 2^64", static told => [told[0] with { UserAddress = new UserAddress(ulong.MaxValue - Page + 1) }, told[1]] },
        { "on top of each other", "are at", static told => [told[0], told[1] with { UserAddress = new UserAddress(told[0].UserAddress.Value + Page) }] },
    };

    [Theory]
    [MemberData(nameof(Lies))]
    public async Task F01_Addresses_that_cannot_be_end_the_session_before_they_are_confirmed(string lie, string why, Func<VhostUserMemoryRegion[], VhostUserMemoryRegion[]> change)
    {
        await using Scene scene = await Scene.StartAsync(_options);
        scene.Change = change;
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();

        await scene.Dialogue.Session.Invoking(session => session.SetMemoryAsync(scene.Memory).InTime()).Should().ThrowAsync<VhostUserProtocolException>(lie).WithMessage($"*SET_MEM_TABLE*{why}*");

        await scene.Lost<VhostUserProtocolException>(why);
        scene.Dialogue.Backend.Transcript.Should().NotContain("SET_MEM_TABLE 0");
    }

    [Fact]
    public async Task F01_A_fault_outside_of_what_was_given_ends_the_session_and_not_the_migration()
    {
        await using Scene scene = await Scene.StartAsync(_options);
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
        await using Scene scene = await Scene.StartAsync(_options);
        await scene.Migration.JoinAsync(scene.Dialogue.Session).InTime();
        await scene.Dialogue.Session.SetMemoryAsync(scene.Memory).InTime();
        ClearNonBlocking(scene.Faults.Descriptor); // poll(2) reports an error from now on, once it is asked again
        Task<int> waits = Task.Run(() => scene.Theirs[0].BringIn(0, 1));

        await scene.Lost<VhostUserProtocolException>("again and again");
        scene.Migration.Place(default, new byte[Page]);
        scene.Theirs[0].Dispose();
        await waits.InTime();
    }

    [Fact]
    public async Task A_fault_is_asked_for_once_and_all_who_wait_go_on()
    {
        await using Scene scene = await Scene.StartAsync(_options);
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
        await using Scene scene = await Scene.StartAsync(_options);
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
        await using Scene scene = await Scene.StartAsync(_options);
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

    [Fact]
    public async Task A_hundred_thousand_migrations_leave_nothing_behind()
    {
        using GuestMemory memory = GuestRam.Create(Size);
        await using Dialogue dialogue = await Dialogue.StartAsync(_offer, _options);
        using UserFaults faults = UserFaults.Open();
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.PostcopyAdvise ? Misbehaviour.Reply(request.Code, [], faults.Descriptor) : null;
        dialogue.Backend.Records = false;
        ProcessCounts before = ProcessCounts.Snapshot();
        for (int i = 0; i < 100_000; i++)
        {
            await using PostcopyMigration migration = new(memory, static (_, _, _) => default);
            await migration.JoinAsync(dialogue.Session);
            migration.MarkArrived(default, Size);
            await migration.EndAsync();
        }

        before.AssertBack();
    }

    private static void ClearNonBlocking(SafeFileHandle descriptor) => fcntl(descriptor, 4, 0).Should().Be(0);

    [DllImport("libc")]
    private static extern int fcntl(SafeHandle descriptor, int command, nint argument);

    /// <summary>A migration, a session, and a scripted back-end with a userfaultfd and mappings of its own.</summary>
    private sealed class Scene : IAsyncDisposable
    {
        private readonly List<SharedMemory> _mapped = [];

        private Scene() => Migration = new PostcopyMigration(Memory, (address, length, _) =>
        {
            Asked.TrySetResult((address, length));
            return default;
        });

        public GuestMemory Memory { get; } = GuestRam.Create((0UL, Size), (Other, Size));

        public PostcopyMigration Migration { get; }

        public Dialogue Dialogue { get; private set; } = null!;

        public UserFaults Faults { get; } = UserFaults.Open();

        /// <summary>What the back-end has mapped.</summary>
        public List<IncomingMemory> Theirs { get; } = [];

        public Func<VhostUserMemoryRegion[], VhostUserMemoryRegion[]> Change { get; set; } = static told => told;

        public TaskCompletionSource<(GuestAddress Address, ulong Length)> Asked { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public static async Task<Scene> StartAsync(VhostUserFrontendOptions options)
        {
            Scene scene = new();
            scene.Dialogue = await Dialogue.StartAsync(_offer, options);
            scene.Dialogue.Backend.Misbehave = (request, _) => scene.Answer(request);
            return scene;
        }

        /// <summary>What a back-end does in postcopy; null: what it always does.</summary>
        public Misbehaviour? Answer(ScriptedRequest request)
        {
            switch (request.Code)
            {
                case VhostUserRequest.PostcopyAdvise:
                    return Misbehaviour.Reply(request.Code, [], Faults.Descriptor);
                case VhostUserRequest.SetMemTable when request.Payload.Length > 8 && !request.WantsAcknowledgement:
                    VhostUserMemoryRegion[] told = Change([.. Regions(request).Select((region, index) => Map(region, request.Descriptors[index]))]);
                    byte[] payload = new byte[VhostUserMemoryTable.EncodedSizeOf(told.Length)];
                    VhostUserMemoryTable.Write(told, payload);
                    return Misbehaviour.Reply(request.Code, payload);
                case VhostUserRequest.AddMemReg:
                    byte[] single = new byte[VhostUserSingleRegion.Size];
                    new VhostUserSingleRegion(Map(request.Region, request.Descriptors[0])).Write(single);
                    return Misbehaviour.Reply(request.Code, single);
                default:
                    return null;
            }
        }

        public void MarkAllArrived()
        {
            foreach (GuestMemoryRegion region in Memory.Regions)
                Migration.MarkArrived(region.GuestAddress, region.Size);
        }

        /// <summary>The session has ended for that reason.</summary>
        public async Task Lost<T>(string why)
            where T : VhostUserException => await Dialogue.Session.Invoking(session => session.Completion.InTime()).Should().ThrowAsync<T>().WithMessage($"*{why}*");

        public async ValueTask DisposeAsync()
        {
            await Dialogue.DisposeAsync();
            await Migration.DisposeAsync().InTime();
            foreach (IncomingMemory theirs in Theirs)
                theirs.Dispose();
            foreach (SharedMemory mapped in _mapped)
                mapped.Dispose();
            Faults.Dispose();
            Memory.Dispose();
        }

        private VhostUserMemoryRegion Map(VhostUserMemoryRegion region, SafeFileHandle descriptor)
        {
            SharedMemory memory = SharedMemory.Map(Libc.Duplicate(descriptor), region.MmapOffset, region.Size);
            _mapped.Add(memory);
            Theirs.Add(IncomingMemory.Beside(memory, Faults));
            return region with { UserAddress = new UserAddress(Theirs[^1].WatchedAddress) };
        }

        private static VhostUserMemoryRegion[] Regions(ScriptedRequest request)
        {
            VhostUserMemoryTable.TryRead(request.Payload, out VhostUserMemoryTable table).Should().BeTrue();
            VhostUserMemoryRegion[] regions = new VhostUserMemoryRegion[table.Count];
            for (int i = 0; i < regions.Length; i++)
                regions[i] = table[i];
            return regions;
        }
    }
}
