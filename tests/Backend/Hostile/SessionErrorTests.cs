using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>What a session holds is given back exactly once, also inside of a session that goes on.</summary>
[Collection(ProcessCounts.Name)]
public class SessionErrorTests
{
    private const ulong Page = 0x1000;

    [Theory]
    [MemberData(nameof(Rings.RingDialogue.Dispatches), MemberType = typeof(Rings.RingDialogue))]
    public async Task B08_A_notifier_that_replaces_another_leaves_the_session_with_one(QueueDispatch dispatch)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            await frontend.BarrierAsync();
            ProcessCounts running = ProcessCounts.Snapshot();
            await ReplaceNotifiersAsync(frontend, ring, 100);
            running.AssertBack();
            await ring.EchoAsync(2);

            await frontend.StopAsync(ring);
            ProcessCounts stopped = ProcessCounts.Snapshot();
            for (int i = 0; i < 100; i++)
                await ReplaceAsync(frontend, VhostUserRequest.SetVringCall, ring, VhostUserRequest.SetVringErr);
            stopped.AssertBack();
            (await frontend.StopAsync(ring)).Should().Be(2, "a ring that is stopped already is where it was");
            (await frontend.StopAsync(ring)).Should().Be(2);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public Task B22_All_509_slots_are_taken_and_the_next_is_refused_and_leaves_nothing() => HostileBench.AttackAsync(lines: 2, async frontend =>
    {
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        for (int i = 1; i < VhostUserBackendOptions.MemorySlotLimit; i++)
            await frontend.AcceptedAsync(VhostUserRequest.AddMemReg, Slot(i), guest.Shared.Descriptor);
        ProcessCounts full = ProcessCounts.Snapshot();
        await frontend.RefusedAsync(VhostUserRequest.AddMemReg, Slot(VhostUserBackendOptions.MemorySlotLimit), guest.Shared.Descriptor);
        full.AssertBack();
        await ring.EchoAsync(1);
        await frontend.AcceptedAsync(VhostUserRequest.RemMemReg, Slot(1));
        await frontend.AcceptedAsync(VhostUserRequest.AddMemReg, Slot(VhostUserBackendOptions.MemorySlotLimit), guest.Shared.Descriptor);
        await frontend.RefusedAsync(VhostUserRequest.AddMemReg, Slot(1), guest.Shared.Descriptor);
        full.AssertBack();
        await ring.EchoAsync(2);
    });

    public static TheoryData<QueueDispatch, VhostUserRequest> ChangesOfARunningQueue()
    {
        TheoryData<QueueDispatch, VhostUserRequest> all = [];
        foreach (QueueDispatch dispatch in new[] { QueueDispatch.Async, QueueDispatch.DedicatedThread })
        {
            foreach (VhostUserRequest request in new[]
            {
                VhostUserRequest.SetMemTable, VhostUserRequest.AddMemReg, VhostUserRequest.RemMemReg, VhostUserRequest.SetVringKick,
                VhostUserRequest.SetVringCall, VhostUserRequest.ResetDevice, VhostUserRequest.SetStatus,
            })
            {
                all.Add(dispatch, request);
            }
        }

        return all;
    }

    /// <summary>The device is inside of a request and does not come back until the session is over.</summary>
    [Theory]
    [MemberData(nameof(ChangesOfARunningQueue))]
    public async Task A_change_that_a_device_holds_up_costs_the_connection_and_leaves_nothing(QueueDispatch dispatch, VhostUserRequest request)
    {
        VhostUserBackendOptions options = new() { Dispatch = dispatch, DrainTimeout = TimeSpan.FromMilliseconds(100) };
        await using HostileBench bench = await HostileBench.StartAsync(options: options);
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestGuest other = new(slot: 1);
            using TestRing ring = new(guest, 0);
            using EventNotifier another = new();
            await frontend.SetMemoryTableAsync(guest, other);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            bench.Device.Gate.Reset();
            ring.SubmitAndKick(2);
            await Eventually.TrueAsync(() => bench.Device.Blocked > 0);
            (byte[] payload, SafeHandle[] descriptors) = request switch
            {
                VhostUserRequest.SetMemTable => RawFrontend.TableOf(guest, other),
                VhostUserRequest.AddMemReg => (Slot(40), [guest.Shared.Descriptor]),
                VhostUserRequest.RemMemReg => (RawFrontend.Bytes(other.Single), []),
                VhostUserRequest.SetVringKick or VhostUserRequest.SetVringCall => (RawFrontend.Word(ring), [another.Descriptor]),
                VhostUserRequest.SetStatus => (new byte[8], []),
                _ => (Array.Empty<byte>(), Array.Empty<SafeHandle>()),
            };
            await frontend.SendAsync(request, payload, descriptors);
            await frontend.ExpectClosedAsync();
            bench.Device.Gate.Set();
        }

        await bench.CheckInvariantsAsync(lines: null);
        bench.Complaints[0].Should().Contain("did not return from Process");
    }

    [Fact]
    public async Task A_back_end_that_is_stopped_while_a_removal_waits_for_a_request_ends_in_time_and_leaves_nothing()
    {
        EchoDevice device = new() { KeepRequests = true };
        using TestGuest guest = new();
        using TestRing ring = new(guest, 0);
        (await Bystander.WatchAsync()).End(); // everything that is opened once
        ProcessCounts before = ProcessCounts.Snapshot();
        VhostUserBackend backend = new(device, new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(300) });
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        Task serving = Task.Run(() => backend.ServeAsync(back));
        await using (RawFrontend frontend = new(front))
        {
            await frontend.NegotiateAsync();
            await frontend.AddMemoryAsync(guest);
            await frontend.AcceptedAsync(VhostUserRequest.AddMemReg, Slot(1), guest.Shared.Descriptor);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => device.Kept.Count == 1);
            await frontend.SendAsync(VhostUserRequest.RemMemReg, Slot(1));
            await backend.DisposeAsync().InTime();
            await serving.InTime();
        }

        device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
        kept!.Complete(0);
        before.AssertBack();
    }

    /// <summary>A log without memory and an in-flight area of no queues, which are wrong; the IOMMU, postcopy and what is for other devices, which are not offered.</summary>
    [Theory]
    [InlineData(VhostUserRequest.SetLogBase, 16, 1)]
    [InlineData(VhostUserRequest.SetLogBase, 8, 0)]
    [InlineData(VhostUserRequest.GetInflightFd, 24, 0)]
    [InlineData(VhostUserRequest.GetInflightFd, 24, 1)]
    [InlineData(VhostUserRequest.SetInflightFd, 24, 1)]
    [InlineData(VhostUserRequest.SetInflightFd, 24, 8)]
    [InlineData(VhostUserRequest.IotlbMsg, 32, 0)]
    [InlineData(VhostUserRequest.PostcopyAdvise, 0, 0)]
    [InlineData(VhostUserRequest.PostcopyListen, 0, 0)]
    [InlineData(VhostUserRequest.PostcopyEnd, 0, 0)]
    [InlineData(VhostUserRequest.SetDeviceStateFd, 8, 1)]
    [InlineData(VhostUserRequest.CheckDeviceState, 0, 0)]
    [InlineData(VhostUserRequest.GetSharedObject, 16, 0)]
    [InlineData(VhostUserRequest.GpuSetSocket, 0, 1)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 632, 0)]
    public async Task B26_B28_B29_B32_B33_B34_What_is_wrong_or_not_offered_is_refused_and_its_descriptors_are_closed(VhostUserRequest request, int size, int descriptors)
    {
        foreach (VhostUserHeaderFlags flags in new[] { RawFrontend.NeedReply, RawFrontend.Plain })
        {
            await using HostileBench bench = await HostileBench.StartAsync();
            await using (RawFrontend frontend = await bench.NegotiatedAsync())
            {
                using EventNotifier any = new();
                SafeHandle[] handles = [.. Enumerable.Repeat((SafeHandle)any.Descriptor, descriptors)];
                await frontend.SendAsync((uint)request, flags, new byte[size], handles);
                if (flags == RawFrontend.NeedReply)
                    await frontend.ExpectRefusedOrClosedAsync(request);
            }

            await bench.CheckInvariantsAsync(lines: 1);
            bench.Complaints[0].Should().Contain(MessageContracts.NameOf(VhostUserChannel.Main, (uint)request));
        }
    }

    [Fact]
    public async Task B12_A_ring_that_the_memory_which_comes_after_it_does_not_hold_says_so()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestGuest other = new(slot: 1);
            using TestRing ring = new(guest, 0);
            await frontend.StartAsync(ring);
            await frontend.AddMemoryAsync(other);
            bench.Log.Lines.Should().ContainMatch("*queue 0 (split): started, and waits for memory*descriptor table*not inside one of 1 memory regions");
            await frontend.AddMemoryAsync(guest);
            await ring.EchoAsync(1);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B12_Features_that_are_said_again_while_a_ring_runs_do_not_reach_the_device()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            int configured = bench.Device.Configured;
            ulong features = await frontend.AskU64Async(VhostUserRequest.GetFeatures) & ~(ulong)VirtioFeatures.RingPacked;
            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features));
            bench.Device.Configured.Should().Be(configured, "no queue runs while the device is told its features");
            await ring.EchoAsync(2);
            await frontend.StopAsync(ring);
            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features));
            bench.Device.Configured.Should().Be(configured + 1);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    private static byte[] Slot(int number) => RawFrontend.Bytes(new VhostUserSingleRegion(new VhostUserMemoryRegion(
        new GuestAddress((1UL << 40) + ((ulong)number * Page)), Page, new UserAddress((1UL << 41) + ((ulong)number * Page)), 0)));

    private static async Task ReplaceNotifiersAsync(RawFrontend frontend, TestRing ring, int times)
    {
        for (int i = 0; i < times; i++)
            await ReplaceAsync(frontend, VhostUserRequest.SetVringKick, ring, VhostUserRequest.SetVringCall, VhostUserRequest.SetVringErr);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
    }

    private static async Task ReplaceAsync(RawFrontend frontend, VhostUserRequest first, TestRing ring, params VhostUserRequest[] others)
    {
        foreach (VhostUserRequest request in others.Prepend(first))
        {
            using EventNotifier another = new();
            await frontend.AcceptedAsync(request, RawFrontend.Word(ring), another.Descriptor);
        }
    }
}
