using System.Globalization;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>
/// What a guest may write into a ring of its memory: the queue breaks or the request fails, and the guest's other queue does not notice. Those of a network device: <see cref="HostilePacketTests"/>.
/// </summary>
[Collection(GuestCollection.Name)]
public sealed class HostileRingTests(HostileGuests guests) : IClassFixture<HostileGuests>
{
    private const ushort Next = SpareQueue.Next, Write = SpareQueue.Write, Indirect = SpareQueue.Indirect;

    [SkippableTheory]
    [InlineData(SpareQueue.Size + 2)]
    [InlineData(0)]
    [InlineData(ushort.MaxValue)]
    public Task R01_An_available_index_that_jumps_or_goes_back(int index) => BreaksAsync(queue => queue.Split.AvailableIndex = (ushort)index);

    [SkippableTheory]
    [InlineData(SpareQueue.Size)]
    [InlineData(ushort.MaxValue)]
    public Task R02_A_head_that_is_no_descriptor(int head) => BreaksAsync(queue => queue.Split.Offer((ushort)head));

    [SkippableTheory]
    [InlineData(4, 64u)]
    [InlineData(5, 64u)]
    [InlineData(4, 0u)]
    [InlineData(SpareQueue.Size, 64u)]
    public Task R03_A_chain_that_leads_nowhere_or_round_and_round(int next, uint length) => BreaksAsync(queue =>
    {
        queue.Split.Descriptor(4, SpareQueue.Data, length, Next, (ushort)next);
        queue.Split.Descriptor(5, SpareQueue.Data, length, Next, 4);
        queue.Split.Offer(4);
    });

    [SkippableFact]
    public Task R04_The_same_head_as_often_as_the_ring_holds() => ServesAsync(async queue =>
    {
        ushort index = queue.Split.AvailableIndex;
        queue.Offer();
        for (int i = 1; i < SpareQueue.Size; i++)
            queue.Split.Offer(0);
        queue.KickIt();
        await Eventually.TrueAsync(() => queue.Split.UsedIndex == (ushort)(index + SpareQueue.Size));
    });

    [SkippableTheory]
    [InlineData(HostileGuest.EndOfMemory - 8, 16u)]
    [InlineData(HostileGuest.EndOfMemory, 1u)]
    [InlineData(SpareQueue.Data, uint.MaxValue)]
    [InlineData(ulong.MaxValue - 7, 16u)]
    [InlineData(0xFEC0_0000ul, 64u)]
    public Task R05_A_buffer_that_is_not_wholly_in_the_guests_memory(ulong address, uint length) => BreaksAsync(queue =>
    {
        queue.Prepare();
        queue.Split.Descriptor(0, SpareQueue.Header, 16, Next, 1);
        queue.Split.Descriptor(1, address, length, Next | Write, 2);
        queue.Split.Descriptor(2, SpareQueue.Status, 1, Write);
        queue.Split.Offer(0);
    });

    [SkippableTheory]
    [InlineData(0x0ul)]
    [InlineData(0x4000ul)]
    [InlineData(0x8000ul)]
    public Task R06_A_buffer_over_the_ring_itself(ulong part) => SurvivesAsync(async queue =>
    {
        queue.Prepare();
        queue.Split.Descriptor(0, SpareQueue.Header, 16, Next, 1);
        queue.Split.Descriptor(1, HostileGuest.FreeMemory + part, 512, Next | Write, 2);
        queue.Split.Descriptor(2, SpareQueue.Status, 1, Write);
        queue.Split.Offer(0);
        queue.KickIt();
        await queue.StatusAsync();
    });

    [SkippableTheory]
    [InlineData("no bytes", 0u, (ushort)0, (ushort)0, SpareQueue.Table)]
    [InlineData("no whole descriptors", 24u, (ushort)0, (ushort)0, SpareQueue.Table)]
    [InlineData("a next beside it", 32u, Next, (ushort)0, SpareQueue.Table)]
    [InlineData("a table in the table", 32u, (ushort)0, Indirect, SpareQueue.Table)]
    [InlineData("not mapped", 32u, (ushort)0, (ushort)0, HostileGuest.EndOfMemory - 16)]
    public Task R07_A_bad_indirect_table(string what, uint length, ushort beside, ushort inside, ulong at) => BreaksAsync(queue =>
    {
        what.Should().NotBeEmpty();
        queue.Split.DescriptorAt(SpareQueue.Table, SpareQueue.Header, 16, (ushort)(inside | Next), 1);
        queue.Split.DescriptorAt(SpareQueue.Table + 16, SpareQueue.Status, 1, Write);
        queue.Split.Descriptor(0, at, length, (ushort)(Indirect | beside), 3);
        queue.Split.Offer(0);
    });

    /// <summary>Addresses, lengths, flags and sectors change under the disk's hands; it uses what it read once, or breaks the queue.</summary>
    [SkippableFact]
    public async Task R08_Everything_is_rewritten_while_it_is_served()
    {
        for (int round = 0; round < 20; round++)
        {
            await SurvivesAsync(async queue =>
            {
                using CancellationTokenSource stop = new();
                Task rewriting = Task.Run(() => Rewrite(queue, stop.Token));
                for (int i = 0; i < 500; i++)
                {
                    if ((ushort)(queue.Split.AvailableIndex - queue.Split.UsedIndex) < SpareQueue.Size)
                        queue.Split.Offer(0);
                    queue.KickIt();
                    await Task.Yield();
                }

                await stop.CancelAsync();
                await rewriting;
            });
        }
    }

    [SkippableFact]
    public Task R09_A_readable_buffer_behind_a_writable_one() => BreaksAsync(queue =>
    {
        queue.Prepare();
        queue.Split.Descriptor(0, SpareQueue.Header, 16, Next | Write, 1);
        queue.Split.Descriptor(1, SpareQueue.Data, 512, Next, 2);
        queue.Split.Descriptor(2, SpareQueue.Status, 1, Write);
        queue.Split.Offer(0);
    });

    [SkippableFact]
    public Task R09_A_header_in_pieces() => ServesAsync(async queue =>
    {
        queue.Prepare();
        for (int i = 0; i < 4; i++)
            queue.Split.Descriptor(i, SpareQueue.Header + (4UL * (ulong)i), 4, Next, (ushort)(i + 1));
        queue.Split.Descriptor(4, SpareQueue.Data, 512, Next | Write, 5);
        queue.Split.Descriptor(5, SpareQueue.Status, 1, Write);
        queue.Split.Offer(0);
        queue.KickIt();
        (await queue.StatusAsync()).Should().Be(0);
    });

    [SkippableTheory]
    [InlineData(1, 16u)]
    [InlineData(1, 3u)]
    public Task R09_A_request_without_a_status(int descriptors, uint length) => SurvivesAsync(async queue =>
    {
        queue.Prepare();
        ushort used = queue.Split.UsedIndex;
        for (int i = 0; i < descriptors; i++)
            queue.Split.Descriptor(i, SpareQueue.Header, length, (ushort)(i + 1 < descriptors ? Next : 0), (ushort)(i + 1));
        queue.Split.Offer(0);
        queue.KickIt();
        await Eventually.TrueAsync(() => queue.Split.UsedIndex != used);
    });

    [SkippableTheory]
    [InlineData(0u, ulong.MaxValue, 512u, 1)]
    [InlineData(0u, (64ul << 20) / 512, 512u, 1)]
    [InlineData(0u, ((64ul << 20) / 512) - 1, 1024u, 1)]
    [InlineData(0u, 0ul, 511u, 1)]
    [InlineData(77u, 0ul, 512u, 2)]
    public Task R12_A_request_that_the_disk_cannot_serve(uint type, ulong sector, uint length, byte status) => ServesAsync(async queue =>
    {
        queue.Offer(type, sector, length);
        (await queue.StatusAsync()).Should().Be(status);
    });

    [SkippableTheory]
    [InlineData(ushort.MaxValue, ushort.MaxValue)]
    [InlineData(3, 12345)]
    public Task R14_Suppression_that_means_nothing(int flags, int usedEvent) => ServesAsync(async queue =>
    {
        queue.Split.AvailableFlags = (ushort)flags;
        queue.Split.UsedEvent = (ushort)usedEvent;
        for (int i = 0; i < 5; i++)
        {
            queue.Offer();
            (await queue.StatusAsync()).Should().Be(0);
        }
    });

    [SkippableFact]
    public async Task R17_Indices_go_round()
    {
        HostileGuest guest = await guests.UntrackedAsync(packed: false);
        await using (SpareQueue queue = await SpareQueue.StartAsync(await guest.SessionAsync(), start: 65530))
        {
            for (int i = 0; i < 20; i++)
            {
                queue.Offer();
                (await queue.StatusAsync()).Should().Be(0);
            }

            queue.Split.UsedIndex.Should().Be(unchecked((ushort)(65530 + 20)));
        }

        await guest.GoesOnAsync();
    }

    [SkippableFact]
    public Task R18_Kicks_without_work_cost_next_to_nothing() => ServesAsync(async queue =>
    {
        for (int i = 0; i < 10_000; i++)
            queue.KickIt();
        queue.Offer();
        (await queue.StatusAsync()).Should().Be(0);
    });

    /// <summary>The buffer's memory goes while the queue may be reading into it: what is accepted is gone, and what is not is there.</summary>
    [SkippableFact]
    public Task R19_Memory_goes_under_running_requests() => SurvivesAsync(async (queue, session) =>
    {
        const ulong at = 1UL << 40;
        using SharedMemory more = SharedMemory.CreateSealed("test", 1 << 20);
        byte[] region = InterposedSession.Bytes(new VhostUserSingleRegion(new VhostUserMemoryRegion(new GuestAddress(at), more.Length, new UserAddress(at), 0)));
        for (int turn = 0; turn < 20; turn++)
        {
            await session.AcceptedAsync(VhostUserRequest.AddMemReg, region, more.Descriptor);
            queue.Prepare();
            queue.Split.Descriptor(0, SpareQueue.Header, 16, Next, 1);
            queue.Split.Descriptor(1, at, 1 << 20, Next | Write, 2);
            queue.Split.Descriptor(2, SpareQueue.Status, 1, Write);
            queue.Split.Offer(0);
            queue.KickIt();
            await session.AcceptedAsync(VhostUserRequest.RemMemReg, region);
        }
    });

    [SkippableTheory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public async Task R13_Flags_ids_and_chains_of_a_packed_ring_that_are_wrong(int what)
    {
        HostileGuest guest = await guests.UntrackedAsync(packed: true);
        int descriptors = guest.Disk.Descriptors;
        await using (SpareQueue queue = await SpareQueue.StartAsync(await guest.SessionAsync(), FreshPacked))
        {
            queue.OfferPacked();
            (await queue.StatusAsync()).Should().Be(0);
            switch (what)
            {
                case 0: // an id that the ring does not have
                    queue.Packed.Offer(3, SpareQueue.Header, 16, SpareQueue.Size, wrap: true);
                    break;
                case 1: // a chain that never ends
                    for (int i = SpareQueue.Size + 2; i >= 3; i--)
                        queue.Packed.Offer(i % SpareQueue.Size, SpareQueue.Data, 16, 0, Next, wrap: i < SpareQueue.Size);
                    break;
                default: // a buffer outside of memory
                    queue.Packed.Offer(3, HostileGuest.EndOfMemory, 16, 0, wrap: true);
                    break;
            }

            queue.KickIt();
            await queue.BrokenAsync();
        }

        await guest.GoesOnAsync();
        await Eventually.TrueAsync(() => guest.Disk.Descriptors == descriptors);
    }

    [SkippableFact]
    public async Task R13_A_wrap_counter_that_is_wrong_is_nothing_to_do()
    {
        HostileGuest guest = await guests.UntrackedAsync(packed: true);
        await using (SpareQueue queue = await SpareQueue.StartAsync(await guest.SessionAsync(), FreshPacked))
        {
            queue.OfferPacked(wrap: false);
            queue.OfferPacked(wrap: true);
            (await queue.StatusAsync()).Should().Be(0);
        }

        await guest.GoesOnAsync();
    }

    [SkippableTheory]
    [InlineData(7)]
    [InlineData(100)]
    public async Task R15_A_packed_ring_of_any_size(int size)
    {
        HostileGuest guest = await guests.UntrackedAsync(packed: true);
        await using (SpareQueue queue = await SpareQueue.StartAsync(await guest.SessionAsync(), FreshPacked, size))
        {
            bool wrap = true;
            for (int i = 0, place = 0; i < 3 * size; i++)
            {
                queue.OfferPacked(place, wrap);
                (await queue.StatusAsync()).Should().Be(0, string.Create(CultureInfo.InvariantCulture, $"request {i}"));
                place += 3;
                wrap ^= place >= size;
                place %= size;
            }
        }

        await guest.GoesOnAsync();
    }

    /// <summary>Position 0 and wrap counter 1 on both sides.</summary>
    private const uint FreshPacked = 0x8000_8000;

    private static void Rewrite(SpareQueue queue, CancellationToken stop)
    {
        Random random = new(8);
        ulong[] addresses = [SpareQueue.Header, SpareQueue.Data, SpareQueue.Status, SpareQueue.Table, HostileGuest.EndOfMemory - 8, HostileGuest.FreeMemory, ulong.MaxValue - 15];
        uint[] lengths = [0, 1, 16, 512, uint.MaxValue];
        while (!stop.IsCancellationRequested)
        {
            queue.Split.Descriptor(
                random.Next(4), addresses[random.Next(addresses.Length)], lengths[random.Next(lengths.Length)], (ushort)random.Next(8), (ushort)random.Next(5));
            queue.Split.Put(SpareQueue.Header + (4UL * (ulong)random.Next(4)), random.Next(3));
        }
    }

    private Task BreaksAsync(Action<SpareQueue> lie) => SurvivesAsync(async queue =>
    {
        queue.Offer();
        (await queue.StatusAsync()).Should().Be(0);
        lie(queue);
        queue.KickIt();
        await queue.BrokenAsync();
    });

    private Task ServesAsync(Func<SpareQueue, Task> act) => SurvivesAsync(async queue =>
    {
        await act(queue);
        queue.Offer();
        (await queue.StatusAsync()).Should().Be(0, "the queue is served still");
    });

    private Task SurvivesAsync(Func<SpareQueue, Task> act) => SurvivesAsync((queue, _) => act(queue));

    private async Task SurvivesAsync(Func<SpareQueue, InterposedSession, Task> act)
    {
        HostileGuest guest = await guests.UntrackedAsync(packed: false);
        InterposedSession session = await guest.SessionAsync();
        await session.BarrierAsync();
        int descriptors = guest.Disk.Descriptors;
        await using (SpareQueue queue = await SpareQueue.StartAsync(session, start: 0))
            await act(queue, session);
        session.Ended.IsCompleted.Should().BeFalse("a queue that breaks costs no other one anything");
        await guest.GoesOnAsync();
        await Eventually.TrueAsync(() => guest.Disk.Descriptors == descriptors);
    }
}
