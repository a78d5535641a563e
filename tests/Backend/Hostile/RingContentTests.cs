using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>
/// What a driver may write into its ring, in a whole session: the queue breaks, says so on its error descriptor and in one line of the log, the other queue and
/// everybody else go on, and the ring can be started again.
/// </summary>
[Collection(ProcessCounts.Name)]
public class RingContentTests
{
    private const ushort Next = 1, Write = 2, Indirect = 4;
    private const ulong Table = 0x8000;

    [Theory]
    [InlineData((ushort)(1 + TestRing.Size + 1))]
    [InlineData((ushort)0)]
    [InlineData(ushort.MaxValue)]
    public Task R01_An_available_index_that_jumps_or_goes_back(ushort index) => BreaksAsync("available index", (guest, ring) =>
        guest.Write(ring.AvailableOffset + 2, index));

    [Theory]
    [InlineData(TestRing.Size)]
    [InlineData(ushort.MaxValue)]
    public Task R02_A_head_that_is_no_descriptor(ushort head) => BreaksAsync("head", (guest, ring) => Offer(guest, ring, head));

    [Theory]
    [InlineData((ushort)2, 64u)]
    [InlineData((ushort)3, 64u)]
    [InlineData((ushort)2, 0u)]
    [InlineData((ushort)TestRing.Size, 64u)]
    [InlineData(ushort.MaxValue, 64u)]
    public Task R03_A_chain_that_leads_nowhere_or_round_and_round(ushort next, uint length) => BreaksAsync("next|chain", (guest, ring) =>
    {
        ring.WriteDescriptor(2, guest.Guest(0x4000).Value, length, Next, next);
        ring.WriteDescriptor(3, guest.Guest(0x4000).Value, length, Next, 2);
        Offer(guest, ring, 2);
    });

    [Theory]
    [InlineData(TestGuest.Size - 8, 16u)]
    [InlineData(TestGuest.Size, 1u)]
    [InlineData(0x4000ul, uint.MaxValue)]
    public Task R05_A_buffer_that_is_not_wholly_there(ulong offset, uint length) => BreaksAsync("buffer", (guest, ring) =>
    {
        ring.WriteDescriptor(2, guest.Guest(offset).Value, length, Write, 0);
        Offer(guest, ring, 2);
    });

    [Theory]
    [InlineData(ulong.MaxValue - 7, 16u)]
    [InlineData(ulong.MaxValue, 1u)]
    [InlineData(0ul, 1u)]
    public Task R05_A_buffer_at_an_address_that_is_none(ulong address, uint length) => BreaksAsync("buffer", (guest, ring) =>
    {
        ring.WriteDescriptor(2, address, length, Write, 0);
        Offer(guest, ring, 2);
    });

    [Theory]
    [InlineData("no bytes", 0u, (ushort)0, (ushort)0, Table)]
    [InlineData("no whole descriptors", 24u, (ushort)0, (ushort)0, Table)]
    [InlineData("longer than the ring", 16u * (TestRing.Size + 1), (ushort)0, (ushort)0, Table)]
    [InlineData("a next beside it", 32u, Next, (ushort)0, Table)]
    [InlineData("a table in the table", 32u, (ushort)0, Indirect, Table)]
    [InlineData("not mapped", 32u, (ushort)0, (ushort)0, TestGuest.Size - 16)]
    public Task R07_A_bad_indirect_table(string what, uint length, ushort beside, ushort inside, ulong at) => BreaksAsync("indirect", (guest, ring) =>
    {
        what.Should().NotBeEmpty();
        WriteTable(guest, Table, 0, inside);
        WriteTable(guest, Table, 1, 0);
        ring.WriteDescriptor(2, guest.Guest(at).Value, length, (ushort)(Indirect | beside), 3);
        Offer(guest, ring, 2);
    });

    [Fact]
    public Task R07_An_indirect_table_that_was_not_negotiated() => HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        ulong features = await frontend.AskU64Async(VhostUserRequest.GetFeatures);
        ulong without = features & ~(ulong)(VirtioFeatures.IndirectDescriptors | VirtioFeatures.RingPacked);
        await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(without));
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.AddMemoryAsync(guest);
        WriteTable(guest, Table, 0, 0);
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
        ring.WriteDescriptor(2, guest.Guest(Table).Value, 16, Indirect, 0);
        Offer(guest, ring, 2);
        ring.Kick.Signal();
        ring.Error.Wait(TimeSpan.FromSeconds(10)).Should().BeTrue();
    });

    [Fact]
    public Task R09_A_readable_buffer_behind_a_writable_one() => BreaksAsync("writable", (guest, ring) =>
    {
        ring.WriteDescriptor(2, guest.Guest(0x4000).Value, 64, Write | Next, 3);
        ring.WriteDescriptor(3, guest.Guest(0x4000).Value, 64, 0, 0);
        Offer(guest, ring, 2);
    });

    [Fact]
    public Task R04_The_same_head_as_often_as_the_ring_holds() => ServesAsync(async (guest, ring) =>
    {
        for (int turn = 0; turn < 100; turn++)
        {
            ushort index = guest.Read<ushort>(ring.AvailableOffset + 2);
            for (ushort i = 0; i < TestRing.Size; i++)
                guest.Write(ring.AvailableOffset + 4 + ((ulong)((index + i) % TestRing.Size) * 2), (ushort)0);
            Thread.MemoryBarrier();
            guest.Write(ring.AvailableOffset + 2, (ushort)(index + TestRing.Size));
            ring.Kick.Signal();
            await Eventually.TrueAsync(() => ring.UsedIndex == (ushort)(index + TestRing.Size));
        }
    });

    /// <summary>Only the driver itself is harmed: whatever its ring says afterwards.</summary>
    [Theory]
    [InlineData(0ul)]
    [InlineData(0x1000ul)]
    [InlineData(0x2000ul)]
    public async Task R06_A_writable_buffer_over_the_ring_itself(ulong part)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            using TestRing good = new(guest, 1);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await frontend.StartAsync(good);
            guest.WriteBytes(0x6000, [.. Enumerable.Repeat((byte)0xFF, 256)]);
            ring.WriteDescriptor(0, guest.Guest(0x6000).Value, 256, Next, 1);
            ring.WriteDescriptor(1, guest.Guest(part).Value, 256, Write, 0);
            int before = bench.Device.Processed;
            Offer(guest, ring, 0);
            ring.Kick.Signal();
            await Eventually.TrueAsync(() => bench.Device.Processed > before);
            await good.EchoAsync(1);
            await frontend.StopAsync(ring);
            ring.StartAt(0);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(2);
        }

        await bench.CheckInvariantsAsync(lines: null);
    }

    [Theory]
    [InlineData((ushort)3, (ushort)0xFFFF)]
    [InlineData((ushort)0xFFFF, (ushort)0x8000)]
    public Task R14_Wishes_that_make_no_sense(ushort flags, ushort usedEvent) => ServesAsync(async (guest, ring) =>
    {
        for (byte i = 0; i < 40; i++)
        {
            guest.Write(ring.AvailableOffset, flags);
            guest.Write(ring.UsedOffset + 4 + (TestRing.Size * 8), (ushort)(usedEvent + i));
            ring.Submit(i);
            guest.Write(ring.AvailableOffset + 4 + (TestRing.Size * 2), usedEvent);
            ring.Kick.Signal();
            await ring.ExpectEchoAsync(i);
        }
    });

    /// <summary>A legacy device, which has not acknowledged VERSION_1, has the byte order of its guest: little-endian ones are served, others cannot ask.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public Task R16_Rings_of_a_legacy_device_are_little_endian_and_big_endian_is_refused(bool legacy) => HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        ulong features = await frontend.AskU64Async(VhostUserRequest.GetFeatures);
        ulong without = features & ~(ulong)(VirtioFeatures.RingPacked | (legacy ? VirtioFeatures.Version1 : 0));
        await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(without));
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.AddMemoryAsync(guest);
        await frontend.RefusedAsync(VhostUserRequest.SetVringEndian, RawFrontend.State(0, 1));
        await frontend.StartAsync(ring);
        for (byte i = 0; i < 40; i++)
            await ring.EchoAsync(i);
    });

    [Theory]
    [InlineData((ushort)65530)]
    [InlineData((ushort)32760)]
    public Task R17_Indices_that_wrap(ushort start) => ServesAsync(
        async (_, ring) =>
        {
            for (byte i = 0; i < 40; i++)
                await ring.EchoAsync(i);
        },
        start);

    [Fact]
    public Task R18_Kicks_without_work_and_a_call_descriptor_that_takes_no_more() => ServesAsync(async (_, ring) =>
    {
        for (int i = 0; i < 1000; i++)
            ring.Kick.Signal();
        Libc.Write(ring.Call.Descriptor, BitConverter.GetBytes(ulong.MaxValue - 1)).Should().Be(8);
        for (byte i = 0; i < 40; i++)
            await ring.EchoAsync(i);
    });

    [Fact]
    public Task R18_Work_that_was_there_before_the_ring_is_enabled_needs_no_kick() => HostileBench.AttackAsync(lines: 0, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.AddMemoryAsync(guest);
        ring.Submit(7);
        await frontend.StartAsync(ring);
        await ring.ExpectEchoAsync(7);
    });

    /// <summary>Breaks one of two queues.</summary>
    private static async Task BreaksAsync(string words, Action<TestGuest, TestRing> spoil)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing bad = new(guest, 0);
            using TestRing good = new(guest, 1);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(bad);
            await frontend.StartAsync(good);
            await bad.EchoAsync(1);
            spoil(guest, bad);
            bad.Kick.Signal();
            bad.Error.Wait(TimeSpan.FromSeconds(10)).Should().BeTrue("the error descriptor says that the queue is broken");
            bad.UsedIndex.Should().Be(1, "nothing was answered");
            await good.EchoAsync(2);
            bench.Complaints.Should().ContainSingle().Which.Should().Contain("queue 0").And.MatchRegex($"(?i){words}");
            await frontend.StopAsync(bad);
            bad.StartAt(0);
            await frontend.StartAsync(bad);
            await bad.EchoAsync(3);
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    private static Task ServesAsync(Func<TestGuest, TestRing, Task> act, ushort start = 0) => HostileBench.AttackAsync(lines: 0, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        using TestRing good = new(guest, 1);
        await frontend.AddMemoryAsync(guest);
        ring.StartAt(start);
        await frontend.StartAsync(ring, start);
        await frontend.StartAsync(good);
        await act(guest, ring);
        await good.EchoAsync(1);
    });

    private static void WriteTable(TestGuest guest, ulong table, int place, ushort flags)
    {
        ulong at = table + ((ulong)place * 16);
        guest.Write(at, guest.Guest(0x4000).Value);
        guest.Write(at + 8, 64u);
        guest.Write(at + 12, flags);
        guest.Write(at + 14, (ushort)0);
    }

    /// <summary>Publishes a head without the help of <see cref="TestRing"/>.</summary>
    private static void Offer(TestGuest guest, TestRing ring, ushort head)
    {
        ushort index = guest.Read<ushort>(ring.AvailableOffset + 2);
        guest.Write(ring.AvailableOffset + 4 + ((ulong)(index % TestRing.Size) * 2), head);
        Thread.MemoryBarrier();
        guest.Write(ring.AvailableOffset + 2, (ushort)(index + 1));
    }
}
