using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>The back-end without a sin, message by message.</summary>
public sealed class HandDialogueTests
{
    [Fact]
    public async Task A_ring_is_stopped_and_goes_on_at_its_base()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        front.Ring.AvailableIndex = front.Ring.UsedIndex = 65535;
        await front.StartAsync(position: 65535);
        front.Fill(7);
        front.Offer(VirtioBlkRequestType.Out, 3);
        await front.UsedAsync(0);
        front.Ring.UsedElement(65535).Should().Be((0u, 1u));

        (await front.StopAsync()).Should().Be(new VhostUserVringState(0, 0));
        front.Fill(0);
        front.Offer(VirtioBlkRequestType.In, 3, head: 4);
        front.Kick.Signal();
        (await front.ValueAsync(VhostUserRequest.GetStatus)).Should().Be(0);
        front.Ring.UsedIndex.Should().Be(0);

        await front.StartAsync(position: 0);
        await front.UsedAsync(1, kick: false);
        front.Ring.Read<byte>(HandDialogue.StatusAt).Should().Be(0);
        front.Ring.Read<byte>(HandDialogue.DataAt + 1023).Should().Be(7);
        front.Ring.UsedElement(0).Should().Be((4u, 1025u));
        await Eventually.TrueAsync(front.Call.TryConsume);
    }

    [Fact]
    public async Task A_disabled_ring_waits_and_loses_no_kick()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        await front.StartAsync(enabled: false);
        front.Offer(VirtioBlkRequestType.Flush, 0);
        front.Kick.Signal();
        (await front.ValueAsync(VhostUserRequest.GetQueueNum)).Should().Be(HandBackend.QueueCount);
        front.Ring.UsedIndex.Should().Be(0);

        (await front.SayAsync(VhostUserRequest.SetVringEnable, new VhostUserVringState(0, 1))).Should().Be(0);
        await front.UsedAsync(1, kick: false);

        (await front.SayAsync(VhostUserRequest.SetVringEnable, new VhostUserVringState(0, 0))).Should().Be(0);
        front.Offer(VirtioBlkRequestType.Flush, 0);
        front.Kick.Signal();
        (await front.StopAsync()).Num.Should().Be(1);
    }

    [Fact]
    public async Task Without_protocol_features_rings_begin_enabled()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend, VirtioFeatures.Version1);
        await front.StartAsync(enabled: false);
        front.Offer(VirtioBlkRequestType.GetId, 0);

        await front.UsedAsync(1);

        front.Ring.Read<byte>(HandDialogue.DataAt).Should().Be((byte)'h');
    }

    [Fact]
    public async Task What_is_written_is_logged()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend, HandDialogue.Plain | VirtioFeatures.LogAll);
        using DirtyLog log = DirtyLog.Create(new GuestAddress(0x1f_ffff));
        using (await front.AskAsync(VhostUserRequest.SetLogBase, new VhostUserLog(log.Memory.Length, 0), log.Memory.Descriptor))
        {
            await front.StartAsync(flags: VhostUserVringAddress.LogUsedRing);
        }

        front.Offer(VirtioBlkRequestType.In, 0);
        await front.UsedAsync(1);
        await front.StopAsync();

        ulong[] written = [HandDialogue.DataAt, HandDialogue.DataAt + 512, HandDialogue.StatusAt, front.Ring.UsedRing.Value];
        written.Should().OnlyContain(at => log.IsMarked(new GuestAddress(at)));
        log.IsMarked(new GuestAddress(HandDialogue.HeaderAt)).Should().BeFalse();
    }

    [Fact]
    public async Task What_was_in_flight_is_carried_out_again_in_order()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        using VhostUserMessage made = await front.AskAsync(VhostUserRequest.GetInflightFd, new VhostUserInflight(0, 0, 1, HandDialogue.RingSize));
        VhostUserInflight.TryRead(made.Payload, out VhostUserInflight area).Should().BeTrue();
        using SafeFileHandle descriptor = made.TakeDescriptor(0);
        using SharedMemory memory = SharedMemory.Map(new SafeFileHandle(descriptor.DangerousGetHandle(), ownsHandle: false), 0, area.MmapSize);
        using GuestMemory table = GuestMemory.Create(new GuestMemoryRegion(default, memory));
        using GuestMemoryLease content = table.Acquire();
        Note(content, head: 4, counter: 9);
        Note(content, head: 0, counter: 12);
        content.TryWrite(new GuestAddress(8), 1 | ((uint)HandDialogue.RingSize << 16));
        front.Offer(VirtioBlkRequestType.Flush, 0);
        front.Offer(VirtioBlkRequestType.Flush, 0, head: 4);

        (await front.SayAsync(VhostUserRequest.SetInflightFd, area, descriptor)).Should().Be(0);
        await front.StartAsync(position: 2);
        await front.UsedAsync(2, kick: false);

        (front.Ring.UsedElement(0).Id, front.Ring.UsedElement(1).Id).Should().Be((4u, 0u));
        (await front.StopAsync()).Num.Should().Be(2);
        content.TryRead(new GuestAddress(14), out ushort usedIndex).Should().BeTrue();
        usedIndex.Should().Be(2);
        content.TryRead(new GuestAddress(16), out byte mark).Should().BeTrue();
        mark.Should().Be(0);
    }

    [Fact]
    public async Task The_state_is_saved_and_loaded()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        using TempSocket file = new(".state");
        byte[] window = [.. HandDialogue.Bytes(new VhostUserConfig(VirtioBlkConfig.WriteBackOffset, 1, VhostUserConfigFlags.Writable)), 0];
        (await front.SayAsync(VhostUserRequest.SetConfig, window)).Should().Be(0);

        await TransferAsync(front, VhostUserTransferDirection.Save, file.Path, FileMode.Create, expected: 0);
        window[^1] = 1;
        (await front.SayAsync(VhostUserRequest.SetConfig, window)).Should().Be(0);
        await TransferAsync(front, VhostUserTransferDirection.Load, file.Path, FileMode.Open, expected: 0);

        using VhostUserMessage read = await front.AskAsync(VhostUserRequest.GetConfig, window);
        read.Payload[^1].Should().Be(0);
        await File.WriteAllTextAsync(file.Path, "something else");
        await TransferAsync(front, VhostUserTransferDirection.Load, file.Path, FileMode.Open, expected: 1);
    }

    [Fact]
    public async Task Regions_come_and_go_one_by_one()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        GuestMemoryRegion second = front.Ram.Regions[1];
        VhostUserSingleRegion named = new(HandDialogue.Described(second));
        await front.StartAsync();

        (await front.SayAsync(VhostUserRequest.AddMemReg, named, second.Memory.Descriptor)).Should().NotBe(0);
        (await front.SayAsync(VhostUserRequest.RemMemReg, named)).Should().Be(0);
        (await front.SayAsync(VhostUserRequest.RemMemReg, named)).Should().NotBe(0);
        (await front.SayAsync(VhostUserRequest.AddMemReg, named, second.Memory.Descriptor)).Should().Be(0);
        front.Offer(VirtioBlkRequestType.In, 0);
        await front.UsedAsync(1);

        front.Ring.Read<byte>(HandDialogue.StatusAt).Should().Be(0);
    }

    [Fact]
    public async Task A_reset_stops_the_rings()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        (await front.SayAsync(VhostUserRequest.SetStatus, new VhostUserU64(15))).Should().Be(0);
        await front.StartAsync();

        (await front.SayAsync(VhostUserRequest.ResetDevice, [])).Should().Be(0);

        front.Offer(VirtioBlkRequestType.Flush, 0);
        front.Kick.Signal();
        (await front.ValueAsync(VhostUserRequest.GetStatus)).Should().Be(0);
        (await front.StopAsync()).Num.Should().Be(0);
        front.Ring.UsedIndex.Should().Be(0);
    }

    [Fact]
    public async Task Without_a_kick_descriptor_the_ring_is_polled_and_a_new_call_is_used()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        using EventNotifier next = new();
        await front.StartAsync();
        (await front.SayAsync(VhostUserRequest.SetVringKick, new VhostUserVringDescriptor(0x100))).Should().Be(0);
        (await front.SayAsync(VhostUserRequest.SetVringCall, new VhostUserVringDescriptor(0), next.Descriptor)).Should().Be(0);
        next.TryConsume().Should().BeTrue("nothing is lost in the change");
        front.Offer(VirtioBlkRequestType.Flush, 0);

        await front.UsedAsync(1, kick: false);

        await Eventually.TrueAsync(next.TryConsume);
        front.Call.TryConsume().Should().BeFalse();
    }

    [Fact]
    public async Task A_driver_that_wants_no_call_gets_none()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        await front.StartAsync();
        front.Ring.AvailableFlags = 1;
        front.Offer(VirtioBlkRequestType.Flush, 0);
        await front.UsedAsync(1);
        await front.StopAsync();

        front.Call.TryConsume().Should().BeFalse();
    }

    [Fact]
    public async Task A_driver_is_told_when_its_event_is_passed()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend, HandDialogue.Plain | VirtioFeatures.EventIndex);
        await front.StartAsync();
        front.Ring.UsedEvent = 1;
        front.Offer(VirtioBlkRequestType.Flush, 0);
        await front.UsedAsync(1);
        await Eventually.TrueAsync(() => front.Ring.AvailEvent == 1);
        (await front.ValueAsync(VhostUserRequest.GetQueueNum)).Should().Be(HandBackend.QueueCount);
        front.Call.TryConsume().Should().BeFalse();

        front.Offer(VirtioBlkRequestType.Flush, 0);
        await front.UsedAsync(2);
        await Eventually.TrueAsync(front.Call.TryConsume);
    }

    [Fact]
    public async Task A_region_begins_at_its_offset_and_a_table_replaces_another()
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        GuestMemoryRegion first = front.Ram.Regions[0];
        byte[] table = new byte[VhostUserMemoryTable.EncodedSizeOf(1)];
        VhostUserMemoryTable.Write([new VhostUserMemoryRegion(default, 0xf_0000, first.UserAddress, 0x1_0000)], table);
        front.Ring.Put(0x1_2000, (byte)0);

        (await front.SayAsync(VhostUserRequest.SetMemTable, table, first.Memory.Descriptor)).Should().Be(0);
        using RawSplitRing moved = new(front.Ram, 0x1_1000, HandDialogue.RingSize);
        moved.Descriptor(0, 0x8000, VirtioBlkRequestHeader.Size, RawSplitRing.Next, 1);
        moved.Descriptor(1, 0x9000, 1, RawSplitRing.Write);
        front.Ring.Put(0x1_8000, (uint)VirtioBlkRequestType.Flush);
        front.Ring.Put(0x1_9000, (byte)0xff);
        moved.Offer(0);
        await front.StartAsync();

        await Eventually.TrueAsync(() => moved.UsedIndex == 1);
        front.Ring.Read<byte>(0x1_9000).Should().Be(0);
    }

    [Theory]
    [MemberData(nameof(Refused))]
    public async Task What_makes_no_sense_is_refused_and_changes_nothing(VhostUserRequest request, byte[] payload, bool withDescriptor)
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        using EventNotifier any = new();
        SafeHandle[] descriptors = withDescriptor ? [any.Descriptor] : [];

        (await front.SayAsync(request, payload, descriptors)).Should().NotBe(0);

        await front.StartAsync();
        front.Offer(VirtioBlkRequestType.In, 0);
        await front.UsedAsync(1);
        backend.Surprises.Should().BeEmpty();
    }

    public static TheoryData<VhostUserRequest, byte[], bool> Refused() => new()
    {
        { (VhostUserRequest)99, [], false },
        { VhostUserRequest.SetOwner, [0], false },
        { VhostUserRequest.SetOwner, [], true },
        { VhostUserRequest.SetVringNum, Ring(0, 0), false },
        { VhostUserRequest.SetVringNum, Ring(0, 3), false },
        { VhostUserRequest.SetVringNum, Ring(0, 65536), false },
        { VhostUserRequest.SetVringNum, Ring(4, 8), false },
        { VhostUserRequest.SetVringNum, Ring(0x10000, 8), false },
        { VhostUserRequest.SetVringBase, Ring(uint.MaxValue, 0), false },
        { VhostUserRequest.SetVringEnable, Ring(0, 2), false },
        { VhostUserRequest.SetVringKick, Word(0), false },
        { VhostUserRequest.SetVringKick, Word(0x100), true },
        { VhostUserRequest.SetVringCall, Word(0x200), true },
        { VhostUserRequest.SetFeatures, Word(ulong.MaxValue), false },
        { VhostUserRequest.SetProtocolFeatures, Word(ulong.MaxValue), false },
        { VhostUserRequest.SetStatus, Word(0x100), false },
        { VhostUserRequest.SetBackendReqFd, [], true },
        { VhostUserRequest.SetBackendReqFd, [], false },
        { VhostUserRequest.SetMemTable, new byte[40], true },
        { VhostUserRequest.SetMemTable, [1, .. new byte[39]], true },
        { VhostUserRequest.SetLogBase, HandDialogue.Bytes(new VhostUserLog(4096, 0)), true },
        { VhostUserRequest.SetInflightFd, HandDialogue.Bytes(new VhostUserInflight(64, 0, 1, 8)), true },
        { VhostUserRequest.SetConfig, [.. HandDialogue.Bytes(new VhostUserConfig(0, 1, VhostUserConfigFlags.Writable)), 1], false },
    };

    [Theory]
    [InlineData(8, 0, 0)]
    [InlineData(0, RawSplitRing.Next, 0)]
    [InlineData(0, RawSplitRing.Next, 8)]
    [InlineData(0, RawSplitRing.Indirect, 0)]
    public async Task A_broken_ring_says_so_and_harms_nobody(ushort head, ushort flags, ushort next)
    {
        await using HandBackend backend = new();
        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        (await front.SayAsync(VhostUserRequest.SetStatus, new VhostUserU64(15))).Should().Be(0);
        await front.StartAsync();
        front.Ring.Descriptor(0, HandDialogue.HeaderAt, 16, flags, next);
        front.Ring.Offer(head);
        front.Kick.Signal();

        await Eventually.TrueAsync(front.Error.TryConsume);
        (await front.ValueAsync(VhostUserRequest.GetStatus)).Should().Be(15 | (ulong)VirtioDeviceStatus.NeedsReset);
        (await front.StopAsync()).Num.Should().Be(0);
        front.Ring.Descriptor(0, HandDialogue.HeaderAt, 16);
        front.Ring.AvailableIndex = 0;
        await front.StartAsync();
        front.Offer(VirtioBlkRequestType.In, 0);
        await front.UsedAsync(1);
        backend.Surprises.Should().BeEmpty();
    }

    [Fact]
    public async Task Random_bytes_end_their_own_connection_alone()
    {
        await using HandBackend backend = new();
        Random random = new(11);
        for (int i = 0; i < 200; i++)
        {
            byte[] bytes = new byte[random.Next(1, 400)];
            random.NextBytes(bytes);
            if (i % 2 == 0 && bytes.Length >= 12) new VhostUserHeader((uint)random.Next(50), VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply, (uint)bytes.Length - 12).Write(bytes);
            await using VhostUserConnection peer = await VhostUserConnection.ConnectAsync(backend.SocketPath);
            await peer.SendRawAsync(bytes);
        }

        await using HandDialogue front = await HandDialogue.BeginAsync(backend);
        await front.StartAsync();
        front.Offer(VirtioBlkRequestType.In, 0);
        await front.UsedAsync(1);
        backend.Surprises.Should().BeEmpty();
    }

    private static void Note(GuestMemoryLease area, ulong head, ulong counter)
    {
        area.TryWrite(new GuestAddress(16 + (16 * head)), (byte)1);
        area.TryWrite(new GuestAddress(16 + (16 * head) + 8), counter);
    }

    private static byte[] Ring(uint index, uint number) => HandDialogue.Bytes(new VhostUserVringState(index, number));

    private static byte[] Word(ulong value) => HandDialogue.Bytes(new VhostUserU64(value));

    private static async Task TransferAsync(HandDialogue front, VhostUserTransferDirection direction, string path, FileMode mode, ulong expected)
    {
        using SafeFileHandle file = File.OpenHandle(path, mode, FileAccess.ReadWrite);
        using (VhostUserMessage begun = await front.AskAsync(VhostUserRequest.SetDeviceStateFd, new VhostUserDeviceState(direction, VhostUserTransferPhase.Stopped), file))
        {
            VhostUserDeviceStateReply.TryRead(begun.Payload, out VhostUserDeviceStateReply reply).Should().BeTrue();
            reply.Should().Be(VhostUserDeviceStateReply.Create(0, noDescriptor: true));
        }

        (await front.ValueAsync(VhostUserRequest.CheckDeviceState)).Should().Be(expected);
    }
}
