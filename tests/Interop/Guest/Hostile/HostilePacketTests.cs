using Vhost.Backend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>What a guest may write into the rings of a network card: packets are dropped, nothing breaks, and the guest's own pair of queues does not notice.</summary>
[Collection(GuestCollection.Name)]
public sealed class HostilePacketTests(HostileNetGuests guests) : IClassFixture<HostileNetGuests>
{
    private const int HeaderLength = 12;
    private const int Length = 100;

    /// <summary>Where buffers lie, a page for each.</summary>
    private const ulong Buffers = HostileGuest.FreeMemory + 0x2_0000;

    /// <summary>Nothing is written into it or beside it. It stays where it is, so its driver gets nothing more by this queue.</summary>
    [SkippableTheory]
    [InlineData(1u)]
    [InlineData(11u)]
    public Task R10_A_buffer_that_can_hold_no_header_gets_no_packet(uint length) => SurvivesAsync(HostileNetGuest.ToGuestQueue, async (queue, guest, port) =>
    {
        const ulong untouched = 0xEEEE_EEEE_EEEE_EEEE;
        queue.Split.Put(Buffers, untouched);
        queue.Split.Put(Buffers + 8, untouched);
        NetQueueStatistics before = port.ToGuest;
        Offer(queue, 0, length);
        await guest.GiveAsync(port, 60);
        await guest.GiveAsync(port, 60);

        (port.ToGuest.Refused - before.Refused, port.ToGuest.Packets - before.Packets).Should().Be((2, 0));
        (queue.Split.Read<ulong>(Buffers), queue.Split.Read<ulong>(Buffers + 8)).Should().Be((untouched, untouched));
    });

    /// <summary>Merged buffers: sixteen of 64 bytes are all that the ring can ever hold.</summary>
    [SkippableFact]
    public Task R10_A_packet_that_needs_more_buffers_than_the_ring_has_is_dropped() => SurvivesAsync(HostileNetGuest.ToGuestQueue, async (queue, guest, port) =>
    {
        NetQueueStatistics before = port.ToGuest;
        for (int i = 0; i < SpareQueue.Size; i++)
            Offer(queue, i, 64);
        await guest.GiveAsync(port, 1400);
        await guest.GiveAsync(port, 40);

        (port.ToGuest.Refused - before.Refused, port.ToGuest.Packets - before.Packets).Should().Be((1, 1));
    });

    [SkippableTheory]
    [InlineData("a checksum beyond the packet", 1, 0, 0, 0, 90, 9)]
    [InlineData("a checksum far beyond", 1, 0, 0, 0, 65535, 65535)]
    [InlineData("segments of size 0", 1, 1, 54, 0, 34, 16)]
    [InlineData("a kind that does not exist", 0, 2, 54, 100, 34, 16)]
    [InlineData("headers longer than the packet", 0, 1, 101, 100, 34, 16)]
    public Task R11_A_header_that_lies_costs_its_packet_alone(string what, int flags, int kind, int headers, int size, int start, int offset) =>
        SurvivesAsync(HostileNetGuest.FromGuestQueue, async (queue, guest, port) =>
        {
            long errors = port.FromGuest.Errors;
            Send(queue, 0, new VirtioNetHeader((VirtioNetHeaderFlags)flags, (VirtioNetGsoType)kind, (ushort)headers, (ushort)size, (ushort)start, (ushort)offset, 65535));
            queue.Split.Descriptor(1, Buffers, HeaderLength - 1);
            queue.Split.Offer(1);
            Send(queue, 2, new VirtioNetHeader(0, 0, 0, 0, 0, 0, 65535));
            queue.KickIt();

            PacketBuffer[] got = guest.Rent(4);
            int count = 0;
            await Eventually.TrueAsync(() => (count += port.DequeueBurst(got)) > 0 && queue.Split.UsedIndex == 3);
            guest.Return(got);
            (port.FromGuest.Errors - errors, count).Should().Be((2, 1), what);
        });

    private static void Offer(SpareQueue queue, int slot, uint length)
    {
        queue.Split.Descriptor(slot, Buffers + (0x1000UL * (ulong)slot), length, SpareQueue.Write);
        queue.Split.Offer((ushort)slot);
    }

    private static void Send(SpareQueue queue, int slot, VirtioNetHeader header)
    {
        ulong at = Buffers + (0x1000UL * (ulong)slot);
        byte[] bytes = new byte[HeaderLength + Length];
        header.Write(bytes.AsSpan(0, HeaderLength));
        for (int i = 0; i < bytes.Length; i++)
            queue.Split.Put(at + (ulong)i, bytes[i]);
        queue.Split.Descriptor(slot, at, (uint)bytes.Length);
        queue.Split.Offer((ushort)slot);
    }

    private async Task SurvivesAsync(uint number, Func<SpareQueue, HostileNetGuest, NetPort, Task> act)
    {
        HostileNetGuest guest = await guests.GuestAsync();
        InterposedSession session = await guest.SessionAsync();
        await session.BarrierAsync();
        await using (SpareQueue queue = await SpareQueue.StartAsync(session, start: 0, number: number))
            await act(queue, guest, guest.Device.Ports[1]);
        session.Ended.IsCompleted.Should().BeFalse("a queue is served whatever its driver writes");
        await guest.GoesOnAsync();
    }
}
