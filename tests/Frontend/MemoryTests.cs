using System.Globalization;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

public sealed class MemoryTests : IDisposable
{
    private const ulong Page = 4096;
    private readonly List<GuestMemoryRegion> _regions = [];
    private readonly List<GuestMemory> _tables = [];

    public void Dispose()
    {
        foreach (GuestMemory table in _tables)
            table.Dispose();
        foreach (GuestMemoryRegion region in _regions)
            region.Memory.Dispose();
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetMemTable)]
    public async Task By_table_the_whole_table_goes_out_with_a_descriptor_for_each_region()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().Without(VhostUserProtocolFeatures.ConfigureMemSlots));
        GuestMemoryRegion first = Region(0x10000), second = Region(0x40000, 2 * Page);
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.SetMemoryAsync(Table(second, first));

        dialogue.Backend.Since(mark).Should().Equal("SET_MEM_TABLE 2 +2fd !");
        ScriptedRequest sent = dialogue.Backend.Last(VhostUserRequest.SetMemTable);
        TableOf(sent).Should().Equal(Wire(first), Wire(second));
        foreach ((int index, GuestMemoryRegion region) in new[] { (0, first), (1, second) })
        {
            using SharedMemory theirs = SharedMemory.Map(Libc.Duplicate(sent.Descriptors[index]), 0, region.Size);
            using GuestMemory view = GuestMemory.Create(new GuestMemoryRegion(region.GuestAddress, theirs));
            Write(dialogue.Session.Memory, region.GuestAddress, 0x5eed0000u + (uint)index);
            Read(view, region.GuestAddress).Should().Be(0x5eed0000u + (uint)index, "descriptor {0} belongs to region {0}", index);
        }
    }

    [Fact]
    public async Task By_table_without_acknowledgements_a_barrier_follows()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(
            new BackendOffer().Without(VhostUserProtocolFeatures.ConfigureMemSlots | VhostUserProtocolFeatures.ReplyAck));
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.SetMemoryAsync(Table(Region(0)));
        dialogue.Backend.Since(mark).Should().Equal("SET_MEM_TABLE 1 +1fd", "GET_FEATURES");
    }

    [Fact]
    public async Task By_table_eight_regions_fit_and_the_ninth_is_an_error_that_names_the_limit()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().Without(VhostUserProtocolFeatures.ConfigureMemSlots));
        await dialogue.Session.SetMemoryAsync(Table([.. Enumerable.Range(0, 8).Select(i => Region((ulong)i * Page))]));
        dialogue.Backend.Transcript[^1].Should().Be("SET_MEM_TABLE 8 +8fd !");

        int mark = dialogue.Backend.Mark();
        await dialogue.Session.Invoking(session => session.AddMemoryAsync(Region(0x100000)).AsTask())
            .Should().ThrowAsync<VhostUserException>().WithMessage("*9 regions*at most 8*CONFIGURE_MEM_SLOTS*");
        dialogue.Backend.Since(mark).Should().BeEmpty();
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.AddMemReg, VhostUserRequest.RemMemReg, VhostUserProtocolFeatures.ConfigureMemSlots)]
    public async Task By_slots_SET_MEM_TABLE_is_never_sent_and_removals_come_before_additions()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        GuestMemoryRegion a = Region(0x10000), b = Region(0x20000), c = Region(0x30000), d = Region(0x40000);
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.SetMemoryAsync(Table(a, b, c));
        await dialogue.Session.SetMemoryAsync(Table(b, d));
        await dialogue.Session.SetMemoryAsync(Table(b, d));

        dialogue.Backend.Since(mark).Should().Equal(
            "ADD_MEM_REG 0x10000 +1fd !",
            "ADD_MEM_REG 0x20000 +1fd !",
            "ADD_MEM_REG 0x30000 +1fd !",
            "REM_MEM_REG 0x10000 !",
            "REM_MEM_REG 0x30000 !",
            "ADD_MEM_REG 0x40000 +1fd !");
        dialogue.Backend.Last(VhostUserRequest.AddMemReg).Region.Should().Be(Wire(d));
        dialogue.Backend.Last(VhostUserRequest.RemMemReg).Region.Should().Be(Wire(c));
    }

    [Fact]
    public async Task By_slots_other_memory_at_the_same_place_is_removed_and_added()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        await dialogue.Session.SetMemoryAsync(Table(Region(0x10000)));
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.SetMemoryAsync(Table(Region(0x10000)));
        dialogue.Backend.Since(mark).Should().Equal("REM_MEM_REG 0x10000 !", "ADD_MEM_REG 0x10000 +1fd !");
    }

    [Fact]
    public async Task By_slots_the_limit_is_the_back_ends_answer()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer { Slots = 2 });
        await dialogue.Session.SetMemoryAsync(Table(Region(0), Region(Page)));
        await dialogue.Session.Invoking(session => session.AddMemoryAsync(Region(0x100000)).AsTask())
            .Should().ThrowAsync<VhostUserException>().WithMessage("*3 regions*at most 2*GET_MAX_MEM_SLOTS*");
    }

    [Fact]
    public async Task By_slots_509_regions_go_out_one_by_one()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer { Slots = 509 });
        SharedMemory ram = SharedMemory.CreateSealed("ram", Page);
        GuestMemoryRegion[] regions = [.. Enumerable.Range(0, 509).Select(i =>
            new GuestMemoryRegion(new GuestAddress((ulong)i * Page), ram, new UserAddress(((ulong)i + 1000) * Page)))];
        _regions.AddRange(regions);
        await dialogue.Session.SetMemoryAsync(Table(regions));
        dialogue.Backend.Requests.Count(request => request.Code == VhostUserRequest.AddMemReg).Should().Be(509);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Regions_come_and_go_while_rings_run(bool slots)
    {
        using TestRings rings = new();
        await using Dialogue dialogue = await StartAsync(slots);
        await dialogue.Session.SetMemoryAsync(rings.Memory);
        await dialogue.Session.StartVringAsync(rings[0]);
        int mark = dialogue.Backend.Mark();

        GuestMemoryRegion extra = Region(0x10_0000_0000);
        GuestMemory with = await dialogue.Session.AddMemoryAsync(extra);
        with.Regions.Should().HaveCount(2);
        dialogue.Session.Memory.Should().BeSameAs(with);
        (await dialogue.Session.RemoveMemoryAsync(extra)).Regions.Should().ContainSingle();

        dialogue.Backend.Since(mark).Should().Equal(slots
            ? ["ADD_MEM_REG 0x1000000000 +1fd !", "REM_MEM_REG 0x1000000000 !"]
            : ["SET_MEM_TABLE 2 +2fd !", "SET_MEM_TABLE 1 +1fd !"]);
        rings.Memory.Acquire().Dispose(); // the caller's own table was not disposed
        with.Invoking(table => table.Acquire()).Should().Throw<ObjectDisposedException>("the session let go of the table it made");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Memory_is_not_pulled_away_under_a_running_ring(bool slots)
    {
        using TestRings rings = new();
        await using Dialogue dialogue = await StartAsync(slots);
        await dialogue.Session.SetMemoryAsync(rings.Memory);
        FrontendVring ring = await dialogue.Session.StartVringAsync(rings[0]);
        int mark = dialogue.Backend.Mark();

        GuestMemoryRegion home = rings.Memory.Regions[0];
        await dialogue.Session.Invoking(session => session.RemoveMemoryAsync(home).AsTask())
            .Should().ThrowAsync<InvalidOperationException>().WithMessage("*Ring 0*");
        GuestMemoryRegion moved = new(home.GuestAddress, home.Memory, new UserAddress(home.UserAddress.Value + Page));
        await dialogue.Session.Invoking(session => session.SetMemoryAsync(Table(moved)).AsTask()).Should().ThrowAsync<InvalidOperationException>();
        dialogue.Backend.Since(mark).Should().BeEmpty();

        await ring.StopAsync();
        await dialogue.Session.SetMemoryAsync(Table(moved));
    }

    /// <summary>What was there goes before what takes its place comes: for a moment nothing would be under the ring.</summary>
    [Fact]
    public async Task By_slots_other_memory_does_not_come_under_a_running_ring_either()
    {
        using TestRings rings = new();
        await using Dialogue dialogue = await StartAsync(slots: true);
        await dialogue.Session.SetMemoryAsync(rings.Memory);
        FrontendVring ring = await dialogue.Session.StartVringAsync(rings[0]);
        GuestMemoryRegion home = rings.Memory.Regions[0];
        GuestMemory other = Table(new GuestMemoryRegion(home.GuestAddress, Region(home.GuestAddress.Value, home.Size).Memory, home.UserAddress));
        int mark = dialogue.Backend.Mark();

        await dialogue.Session.Invoking(session => session.SetMemoryAsync(other).AsTask()).Should().ThrowAsync<InvalidOperationException>().WithMessage("*Ring 0*other memory*");

        dialogue.Backend.Since(mark).Should().BeEmpty();
        await ring.StopAsync();
        await dialogue.Session.SetMemoryAsync(other);
    }

    [Fact]
    public async Task A_refused_region_leaves_the_record_of_what_the_back_end_has_true()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        GuestMemoryRegion a = Region(0x10000), b = Region(0x20000), c = Region(0x30000);
        GuestMemory wanted = Table(b, c);
        await dialogue.Session.SetMemoryAsync(Table(a));
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.AddMemReg && request.Region.GuestAddress == c.GuestAddress
            ? Misbehaviour.Reply(request.Code, BitConverter.GetBytes(12UL))
            : null;
        await dialogue.Session.Invoking(session => session.SetMemoryAsync(wanted).AsTask())
            .Should().ThrowAsync<VhostUserRejectedException>().WithMessage("*VHOST_USER_ADD_MEM_REG*12*");

        dialogue.Backend.Misbehave = null;
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.SetMemoryAsync(wanted);
        dialogue.Backend.Since(mark).Should().Equal("ADD_MEM_REG 0x30000 +1fd !");
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserProtocolFeatures.GpaAddresses)]
    public async Task With_GPA_ADDRESSES_every_address_is_a_guest_address()
    {
        VhostUserFrontendOptions options = new() { RequiredProtocolFeatures = VhostUserProtocolFeatures.GpaAddresses };
        using TestRings rings = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(VhostUserProtocolFeatures.GpaAddresses), options);
        await dialogue.Session.SetMemoryAsync(rings.Memory);
        dialogue.Backend.Last(VhostUserRequest.AddMemReg).Region.UserAddress.Value.Should().Be(0x100000);
        await dialogue.Session.StartVringAsync(rings[0]);
        dialogue.Backend.Last(VhostUserRequest.SetVringAddr).Read<VhostUserVringAddress>().DescriptorTable.Value.Should().Be(0x100000);
    }

    [Fact]
    public async Task Memory_that_starts_inside_a_file_says_where()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync();
        using SharedMemory whole = SharedMemory.CreateSealed("ram", 4 * Page);
        SharedMemory part = SharedMemory.Map(Libc.Duplicate(whole.Descriptor), 2 * Page, Page);
        GuestMemoryRegion region = new(new GuestAddress(0), part);
        _regions.Add(region);
        await dialogue.Session.SetMemoryAsync(Table(region));
        dialogue.Backend.Last(VhostUserRequest.AddMemReg).Region.MmapOffset.Should().Be(2 * Page);
    }

    private static Task<Dialogue> StartAsync(bool slots)
    {
        BackendOffer offer = new();
        return Dialogue.StartAsync(slots ? offer : offer.Without(VhostUserProtocolFeatures.ConfigureMemSlots));
    }

    private static VhostUserMemoryRegion[] TableOf(ScriptedRequest request)
    {
        VhostUserMemoryTable.TryRead(request.Payload, out VhostUserMemoryTable table).Should().BeTrue();
        VhostUserMemoryRegion[] regions = new VhostUserMemoryRegion[table.Count];
        for (int i = 0; i < regions.Length; i++)
            regions[i] = table[i];
        return regions;
    }

    private static VhostUserMemoryRegion Wire(GuestMemoryRegion region) =>
        new(region.GuestAddress, region.Size, region.UserAddress, region.Memory.DescriptorOffset);

    private static void Write(GuestMemory memory, GuestAddress at, uint value)
    {
        using GuestMemoryLease lease = memory.Acquire();
        lease.TryWrite(at, value).Should().BeTrue(at.Value.ToString("x", CultureInfo.InvariantCulture));
    }

    private static uint Read(GuestMemory memory, GuestAddress at)
    {
        using GuestMemoryLease lease = memory.Acquire();
        lease.TryRead(at, out uint value).Should().BeTrue();
        return value;
    }

    private GuestMemoryRegion Region(ulong at, ulong size = Page)
    {
        GuestMemoryRegion region = GuestRam.Region(at, size);
        _regions.Add(region);
        return region;
    }

    private GuestMemory Table(params ReadOnlySpan<GuestMemoryRegion> regions)
    {
        GuestMemory table = GuestMemory.Create(regions);
        _tables.Add(table);
        return table;
    }
}
