using System.Globalization;
using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>
/// What a front-end may say wrong while a guest uses its disk: it is refused, or costs the connection, QEMU comes back, and the guest does not notice.
/// </summary>
[Collection(GuestCollection.Name)]
public sealed class HostileMessageTests(HostileGuests guests) : IClassFixture<HostileGuests>
{
    private const ulong Free = 1UL << 40;

    [SkippableFact]
    public Task B01_A_message_may_arrive_byte_by_byte() => GoesOnAsync(async session =>
    {
        foreach (byte one in MessageBytes((uint)VhostUserRequest.SetVringEnable, 1, 8, InterposedSession.State(1, 1)))
            await session.SayRawAsync(new[] { one });
        await session.BarrierAsync();
    });

    [SkippableTheory]
    [InlineData(1)]
    [InlineData(12)]
    [InlineData(17)]
    public Task B02_A_message_cut_short_by_the_end_of_the_stream(int bytes) => ComesBackAsync(async session =>
    {
        await session.SayRawAsync(MessageBytes((uint)VhostUserRequest.SetVringNum, 1, 8, InterposedSession.State(0, 16)).AsMemory(0, bytes));
        session.End();
    });

    [SkippableTheory]
    [InlineData(4109u)]
    [InlineData(uint.MaxValue)]
    public Task B03_A_payload_beyond_the_maximum(uint size) => ComesBackAsync(session =>
        session.SayRawAsync(MessageBytes((uint)VhostUserRequest.SetFeatures, 1, size, [])));

    [SkippableTheory]
    [InlineData(VhostUserRequest.SetMemTable, 39)]
    [InlineData(VhostUserRequest.SetVringNum, 4)]
    [InlineData(VhostUserRequest.SetVringAddr, 41)]
    [InlineData(VhostUserRequest.AddMemReg, 32)]
    [InlineData(VhostUserRequest.RemMemReg, 48)]
    [InlineData(VhostUserRequest.SetInflightFd, 8)]
    public Task B04_A_payload_of_the_wrong_size(VhostUserRequest request, int size) => RefusedOrComesBackAsync((uint)request, new byte[size]);

    [SkippableTheory]
    [InlineData(0u)]
    [InlineData(255u)]
    [InlineData(0x7fffffffu)]
    public Task B05_An_unknown_request(uint request) => GoesOnAsync(session => session.RefusedAsync(request, new byte[20]));

    [SkippableTheory]
    [InlineData(0u)]
    [InlineData(2u)]
    [InlineData(5u)]
    public Task B06_Flags_that_no_request_has(uint flags) => ComesBackAsync(session =>
        session.SayRawAsync(MessageBytes((uint)VhostUserRequest.GetFeatures, flags, 0, [])));

    /// <summary>Nobody waits for it, but with the messages on which QEMU always asks and waits.</summary>
    [SkippableFact]
    public async Task B07_An_acknowledgement_that_was_not_agreed_on_does_not_come()
    {
        HostileGuest guest = await guests.UnacknowledgedAsync();
        InterposedSession session = await guest.SessionAsync();
        await session.BarrierAsync();

        await session.UnansweredAsync(VhostUserRequest.SetVringNum, InterposedSession.State(1, 16));
        await session.UnansweredAsync(VhostUserRequest.SetVringEnable, InterposedSession.State(1, 0));
        (await session.AskAsync(VhostUserRequest.IotlbMsg, new byte[32])).Should().HaveCount(8, "on this one it is always set");

        session.Ended.IsCompleted.Should().BeFalse("the session goes on");
        await guest.GoesOnAsync();
    }

    [SkippableTheory]
    [InlineData(VhostUserRequest.SetVringNum, 1)]
    [InlineData(VhostUserRequest.AddMemReg, 8)]
    [InlineData(VhostUserRequest.AddMemReg, 0)]
    public async Task B08_B09_Descriptors_where_none_or_another_number_belongs(VhostUserRequest request, int count)
    {
        using SharedMemory memory = SharedMemory.CreateSealed("test", 4096);
        await RefusedOrComesBackAsync((uint)request, new byte[request == VhostUserRequest.AddMemReg ? 40 : 8], [.. Enumerable.Repeat((SafeHandle)memory.Descriptor, count)]);
    }

    [SkippableTheory]
    [InlineData("/dev/null")]
    [InlineData("/proc/self/status")]
    [InlineData("/tmp")]
    public Task B10_A_descriptor_of_the_wrong_kind(string path) => GoesOnAsync(async session =>
    {
        using SafeHandle descriptor = RawDescriptors.OpenPath(path);
        byte[] word = InterposedSession.Bytes(VhostUserVringDescriptor.Create(1, noDescriptor: false));
        await session.RefusedAsync(VhostUserRequest.SetVringCall, word, descriptor);
        await session.RefusedAsync(VhostUserRequest.SetVringErr, word, descriptor);
        await session.RefusedAsync(VhostUserRequest.AddMemReg, Region(new GuestAddress(Free), 4096, new UserAddress(Free), 0), descriptor);
    });

    [SkippableFact]
    public Task B11_B13_Words_of_notifications_that_contradict_themselves() => GoesOnAsync(async session =>
    {
        using EventNotifier notifier = new();
        await session.RefusedAsync(VhostUserRequest.SetVringCall, InterposedSession.Bytes(VhostUserVringDescriptor.Create(1, noDescriptor: true)), notifier.Descriptor);
        foreach (ulong word in new[] { 2ul, 255ul, 0x200ul, 1ul << 32, 1ul << 63 })
            await session.RefusedAsync(VhostUserRequest.SetVringCall, InterposedSession.Bytes(new VhostUserU64(word)), notifier.Descriptor);
    });

    [SkippableTheory]
    [InlineData(2u)]
    [InlineData(0x10000u)]
    [InlineData(uint.MaxValue)]
    public Task B13_A_queue_that_does_not_exist(uint queue) => GoesOnAsync(async session =>
    {
        await session.RefusedAsync(VhostUserRequest.SetVringNum, InterposedSession.State(queue, 16));
        await session.RefusedAsync(VhostUserRequest.SetVringBase, InterposedSession.State(queue, 0));
        await session.RefusedAsync(VhostUserRequest.SetVringEnable, InterposedSession.State(queue, 1));
    });

    [SkippableFact]
    public Task B12_B15_The_guests_running_queue_cannot_be_changed() => GoesOnAsync(async session =>
    {
        await session.RefusedAsync(VhostUserRequest.SetVringNum, InterposedSession.State(0, 16));
        await session.RefusedAsync(VhostUserRequest.SetVringBase, InterposedSession.State(0, 0));
        await session.RefusedAsync(VhostUserRequest.SetVringAddr, InterposedSession.Bytes(SpareQueue.Address(session) with { Index = 0 }));
    });

    [SkippableFact]
    public Task B14_B16_Sizes_that_are_none_and_very_many_that_are() => GoesOnAsync(async session =>
    {
        foreach (uint size in new uint[] { 0, 3, 255, 32769, 65536, uint.MaxValue })
            await session.RefusedAsync(VhostUserRequest.SetVringNum, InterposedSession.State(1, size));
        HostileGuest guest = await guests.SplitAsync();
        long before = guest.Disk.Resident;
        for (uint i = 0; i < 20_000; i++)
            await session.SayAsync(VhostUserRequest.SetVringNum, InterposedSession.State(1, 1u << (int)(i % 8)));
        await session.BarrierAsync();
        (guest.Disk.Resident - before).Should().BeLessThan(96 << 20, "a size is a number");
    });

    [SkippableTheory]
    [InlineData(HostileGuest.EndOfMemory)]
    [InlineData(HostileGuest.EndOfMemory - 16)]
    [InlineData(ulong.MaxValue - 15)]
    public Task B17_B18_A_ring_that_is_not_in_the_guests_memory(ulong descriptors) => GoesOnAsync(async session =>
    {
        ulong shift = SpareQueue.Address(session).DescriptorTable.Value - HostileGuest.FreeMemory;
        using EventNotifier kick = new();
        await session.RefusedAsync(VhostUserRequest.SetVringBase, InterposedSession.State(1, 0x10000));
        await session.AcceptedAsync(VhostUserRequest.SetVringNum, InterposedSession.State(1, 16));
        await session.AskAsync(VhostUserRequest.SetVringAddr, InterposedSession.Bytes(SpareQueue.Address(session) with { DescriptorTable = new UserAddress(unchecked(descriptors + shift)) }));
        await session.RefusedAsync(VhostUserRequest.SetVringKick, InterposedSession.Bytes(VhostUserVringDescriptor.Create(1, noDescriptor: false)), kick.Descriptor);
        (await session.AskAsync(VhostUserRequest.GetVringBase, InterposedSession.State(1, 0))).Should().HaveCount(8);
    });

    [SkippableTheory]
    [InlineData(8, 0, 0)]
    [InlineData(0, 1, 0)]
    [InlineData(0, 0, 2)]
    public Task R16_A_ring_that_is_not_aligned_or_big_endian(ulong descriptors, ulong available, ulong used) => GoesOnAsync(async session =>
    {
        VhostUserVringAddress good = SpareQueue.Address(session);
        VhostUserVringAddress crooked = good with
        {
            DescriptorTable = new UserAddress(good.DescriptorTable.Value + descriptors),
            AvailableRing = new UserAddress(good.AvailableRing.Value + available),
            UsedRing = new UserAddress(good.UsedRing.Value + used),
        };
        await session.AcceptedAsync(VhostUserRequest.SetVringNum, InterposedSession.State(1, 16));
        await session.RefusedAsync(VhostUserRequest.SetVringAddr, InterposedSession.Bytes(crooked));
        await session.RefusedAsync(VhostUserRequest.SetVringEndian, InterposedSession.State(1, 1));
    });

    [SkippableFact]
    public Task B19_B20_B21_Regions_that_are_none_leave_the_guests_memory_as_it_is() => GoesOnAsync(async session =>
    {
        using SharedMemory memory = SharedMemory.CreateSealed("test", 4096);
        GuestMemoryRegion last = session.Memory.Regions.Single(region => region.GuestAddress.Value + region.Size == HostileGuest.EndOfMemory);
        byte[][] regions =
        [
            Region(new GuestAddress(Free), 0, new UserAddress(Free), 0),
            Region(new GuestAddress(Free), 4096, new UserAddress(Free), ulong.MaxValue - 4095),
            Region(new GuestAddress(Free), 8192, new UserAddress(Free), 0),
            Region(new GuestAddress(Free), 8UL << 40, new UserAddress(Free), 0),
            Region(new GuestAddress(ulong.MaxValue - 2047), 4096, new UserAddress(Free), 0),
            Region(new GuestAddress(Free), 4096, new UserAddress(ulong.MaxValue - 2047), 0),
            Region(new GuestAddress(HostileGuest.EndOfMemory - 4096), 4096, new UserAddress(Free), 0),
            Region(new GuestAddress(Free), 4096, last.UserAddress, 0),
        ];
        foreach (byte[] region in regions)
            await session.RefusedAsync(VhostUserRequest.AddMemReg, region, memory.Descriptor);
        byte[] table = new byte[8 + (2 * 32)];
        BitConverter.TryWriteBytes(table, 9u);
        await session.RefusedAsync(VhostUserRequest.SetMemTable, table, memory.Descriptor, memory.Descriptor);
    });

    /// <summary>The queue waits for its memory, whether the removal was carried out or not.</summary>
    [SkippableFact]
    public Task B22_The_memory_under_the_guests_queue_is_removed() => ComesBackAsync(async session =>
    {
        await session.RefusedAsync(VhostUserRequest.RemMemReg, Region(new GuestAddress(Free), 4096, new UserAddress(Free), 0));
        GuestMemoryRegion last = session.Memory.Regions.Single(region => region.GuestAddress.Value + region.Size == HostileGuest.EndOfMemory);
        byte[]? answer = await session.AskAsync(VhostUserRequest.RemMemReg, Region(last.GuestAddress, last.Size, last.UserAddress, last.Memory.DescriptorOffset));
        answer.Should().NotBeNull();
        session.End();
    });

    [SkippableFact]
    public Task B23_Memory_comes_and_goes_while_the_guest_writes() => GoesOnAsync(async session =>
    {
        HostileGuest guest = await guests.SplitAsync();
        int mappings = guest.Disk.Mappings;
        using SharedMemory memory = SharedMemory.CreateSealed("test", 1 << 20);
        byte[] region = Region(new GuestAddress(Free), 1 << 20, new UserAddress(Free), 0);
        Task<string> writing = guest.Guest.RunAsync("i=0; while [ $i -lt 40 ]; do dd if=/dev/zero of=/dev/vda bs=4k count=64 seek=1000 conv=fsync 2>/dev/null || exit 1; i=$((i + 1)); done");
        int turns = 0;
        while (!writing.IsCompleted)
        {
            await session.AcceptedAsync(VhostUserRequest.AddMemReg, region, memory.Descriptor);
            await session.AcceptedAsync(VhostUserRequest.RemMemReg, region);
            turns++;
        }

        await writing;
        turns.Should().BeGreaterThan(20);
        guest.Disk.Mappings.Should().Be(mappings);
    });

    [SkippableFact]
    public Task B24_B25_Features_that_were_not_offered_or_come_too_late() => GoesOnAsync(async session =>
    {
        await session.RefusedAsync(VhostUserRequest.SetFeatures, InterposedSession.Bytes(new VhostUserU64(ulong.MaxValue)));
        await session.RefusedAsync(VhostUserRequest.SetFeatures, InterposedSession.Bytes(new VhostUserU64((ulong)VirtioFeatures.Version1)));
        await session.RefusedAsync(VhostUserRequest.SetProtocolFeatures, InterposedSession.Bytes(new VhostUserU64(1ul << 63)));
    });

    [SkippableFact]
    public Task B26_B28_B29_Areas_that_are_none() => GoesOnAsync(async session =>
    {
        using SharedMemory memory = SharedMemory.CreateSealed("test", 4096);
        foreach (VhostUserLog log in new VhostUserLog[] { new(0, 0), new(4096, ulong.MaxValue - 100), new(ulong.MaxValue, 0), new(1UL << 40, 0) })
            await RefusedAsync(session, VhostUserRequest.SetLogBase, InterposedSession.Bytes(log), memory.Descriptor);
        foreach (VhostUserInflight area in new VhostUserInflight[] { new(4096, 0, 0, 128), new(4096, 0, ushort.MaxValue, 128), new(1UL << 40, 0, 2, 128), new(4096, ulong.MaxValue - 100, 2, 128) })
            await session.RefusedAsync(VhostUserRequest.SetInflightFd, InterposedSession.Bytes(area), memory.Descriptor);
    });

    [SkippableFact]
    public Task B30_Parts_of_the_configuration_that_do_not_exist() => GoesOnAsync(async session =>
    {
        byte[] read = new byte[12 + 64];
        InterposedSession.Bytes(new VhostUserConfig(250, 64, VhostUserConfigFlags.Writable)).CopyTo(read, 0);
        byte[]? answer = await session.AskAsync(VhostUserRequest.GetConfig, read);
        answer.Should().BeEmpty("that is how GET_CONFIG is refused");
        await session.RefusedAsync(VhostUserRequest.SetConfig, read);
    });

    [SkippableFact]
    public Task B31_B32_B33_B35_Requests_that_are_no_affair_of_a_disk() => GoesOnAsync(async session =>
    {
        using SharedMemory memory = SharedMemory.CreateSealed("test", 4096);
        await session.RefusedAsync(VhostUserRequest.SetBackendReqFd, default, memory.Descriptor);
        await RefusedAsync(session, VhostUserRequest.IotlbMsg, new byte[32]);
        await RefusedAsync(session, VhostUserRequest.PostcopyListen);
        await session.RefusedAsync(VhostUserRequest.SendRarp, new byte[8]);
        await session.RefusedAsync(VhostUserRequest.NetSetMtu, InterposedSession.Bytes(new VhostUserU64(65535)));
        await RefusedAsync(session, VhostUserRequest.CreateCryptoSession, new byte[VhostUserHeader.MaxPayloadSize]);
    });

    [SkippableFact]
    public async Task B34_A_transfer_of_state_that_was_not_negotiated()
    {
        using SharedMemory memory = SharedMemory.CreateSealed("test", 4096);
        await RefusedOrComesBackAsync((uint)VhostUserRequest.SetDeviceStateFd, new byte[8], memory.Descriptor);
    }

    [SkippableFact]
    public async Task B35_A_reset_while_the_guest_writes()
    {
        HostileGuest guest = await guests.SplitAsync();
        await guest.Guest.RunAsync("{ dd if=/dev/zero of=/dev/vda bs=4k count=2000 seek=1000 conv=fsync 2>/dev/null && touch /tmp/written; } &");
        await ComesBackAsync(async session =>
        {
            await session.AskAsync(VhostUserRequest.ResetDevice);
            session.End();
        });
        await guest.Guest.UntilAsync("[ -e /tmp/written ]");
        await guest.GoesOnAsync();
    }

    /// <summary>The session waits with its answer, and the disk for nobody.</summary>
    [SkippableFact]
    public Task B37_Answers_that_nobody_reads_cost_the_connection_and_the_guest_has_its_disk_meanwhile() => ComesBackAsync(async session =>
    {
        HostileGuest guest = await guests.SplitAsync();
        session.StopReading();
        Task asking = AskUntilEndAsync(session);
        await guest.GoesOnAsync();
        await asking.WaitAsync(TimeSpan.FromSeconds(60));
        session.End();
    });

    [SkippableFact]
    public Task B36_Others_come_and_go_while_the_guest_is_served() => GoesOnAsync(async session =>
    {
        HostileGuest guest = await guests.SplitAsync();
        for (int i = 0; i < 20; i++)
        {
            await using VhostUserConnection other = await VhostUserConnection.ConnectAsync(guest.Disk.Socket);
            await other.SendRawAsync(new byte[] { 1, 2, 3 });
        }

        await session.BarrierAsync();
    });

    [SkippableTheory]
    [InlineData(1)]
    [InlineData(2)]
    public Task B39_Random_bytes(int seed) => ComesBackAsync(session =>
    {
        byte[] bytes = new byte[100_000];
        new Random(seed).NextBytes(bytes);
        return session.SayRawAsync(bytes);
    });

    [SkippableFact]
    public Task B40_The_guests_kick_is_signalled_without_end() => GoesOnAsync(async session =>
    {
        for (int i = 0; i < 50_000; i++)
            session.Kick!.Signal();
        await session.BarrierAsync();
    });

    private static async Task AskUntilEndAsync(InterposedSession session)
    {
        try
        {
            while (true)
                await session.SayAsync(VhostUserRequest.GetFeatures, default);
        }
        catch (VhostUserDisconnectedException)
        {
            // The back-end does not wait for ever.
        }
    }

    private static Task RefusedAsync(InterposedSession session, VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        session.RefusedAsync(request, payload, descriptors);

    private static byte[] Region(GuestAddress guest, ulong size, UserAddress user, ulong offset) =>
        InterposedSession.Bytes(new VhostUserSingleRegion(new VhostUserMemoryRegion(guest, size, user, offset)));

    private static byte[] MessageBytes(uint request, uint flags, uint size, byte[] payload)
    {
        byte[] bytes = new byte[12 + payload.Length];
        BitConverter.TryWriteBytes(bytes, request);
        BitConverter.TryWriteBytes(bytes.AsSpan(4), flags);
        BitConverter.TryWriteBytes(bytes.AsSpan(8), size);
        payload.CopyTo(bytes, 12);
        return bytes;
    }

    private Task RefusedOrComesBackAsync(uint request, byte[] payload, params SafeHandle[] descriptors) => CheckAsync(async session =>
    {
        byte[]? answer = await session.AskAsync(request, payload, descriptors);
        if (answer is not null)
            BitConverter.ToUInt64(answer).Should().NotBe(0, string.Create(CultureInfo.InvariantCulture, $"request {request} should be refused"));
    });

    /// <summary>What is said costs nothing but its refusal.</summary>
    private Task GoesOnAsync(Func<InterposedSession, Task> say) => CheckAsync(async session =>
    {
        await say(session);
        session.Ended.IsCompleted.Should().BeFalse("the session goes on");
    });

    /// <summary>What is said costs the connection.</summary>
    private Task ComesBackAsync(Func<InterposedSession, Task> say) => CheckAsync(async session =>
    {
        await say(session);
        await session.Ended.WaitAsync(TimeSpan.FromSeconds(60));
    });

    private async Task CheckAsync(Func<InterposedSession, Task> say)
    {
        HostileGuest guest = await guests.SplitAsync();
        InterposedSession session = await guest.SessionAsync();
        await session.BarrierAsync();
        int descriptors = guest.Disk.Descriptors;
        await say(session);
        await (await guest.SessionAsync()).BarrierAsync();
        await guest.GoesOnAsync();
        await Eventually.TrueAsync(() => guest.Disk.Descriptors == descriptors);
    }
}
