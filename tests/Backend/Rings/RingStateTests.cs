using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>The two dimensions of a ring, started or stopped and enabled or disabled, for each way to wait.</summary>
[Collection(ProcessCounts.Name)]
public class RingStateTests
{
    public static TheoryData<QueueDispatch> Dispatches => [QueueDispatch.Async, QueueDispatch.DedicatedThread, QueueDispatch.BusyPoll];

    [Theory]
    [MemberData(nameof(Dispatches))]
    public Task Requests_are_served_only_when_started_and_enabled(QueueDispatch dispatch) => RunAsync(dispatch, async (frontend, guest, ring) =>
    {
        await frontend.AddMemoryAsync(guest);
        await frontend.DescribeAsync(ring);
        ring.Submit(1);
        await frontend.EnableAsync(ring);
        await frontend.EnableAsync(ring, enable: false);
        await frontend.KickAsync(ring);
        ring.Kick.Signal();
        await frontend.BarrierAsync();
        ring.UsedIndex.Should().Be(0, "a disabled ring is left alone");
        await frontend.EnableAsync(ring);
        await ring.ExpectEchoAsync(1);
        await ring.EchoAsync(2);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringEnable, RawFrontend.State(0, 0));
        ring.SubmitAndKick(3);
        await frontend.BarrierAsync();
        ring.UsedIndex.Should().Be(2, "a disabled ring is left alone");
        await frontend.EnableAsync(ring);
        await ring.ExpectEchoAsync(3);
    });

    [Theory]
    [MemberData(nameof(Dispatches))]
    public Task A_ring_is_looked_at_after_start_without_a_kick(QueueDispatch dispatch) => RunAsync(dispatch, async (frontend, guest, ring) =>
    {
        await frontend.AddMemoryAsync(guest);
        ring.Submit(1);
        ring.Submit(2);
        await frontend.StartAsync(ring);
        await ring.ExpectEchoAsync(1);
        await ring.ExpectEchoAsync(2);
    });

    [Theory]
    [MemberData(nameof(Dispatches))]
    public Task A_ring_restarts_where_it_stopped(QueueDispatch dispatch) => RunAsync(dispatch, async (frontend, guest, ring) =>
    {
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
        await ring.EchoAsync(2);
        (await frontend.StopAsync(ring)).Should().Be(2);
        (await frontend.StopAsync(ring)).Should().Be(2, "asking a stopped ring changes nothing");
        ring.SubmitAndKick(3);
        await frontend.BarrierAsync();
        ring.UsedIndex.Should().Be(2, "a stopped ring is left alone");
        await frontend.KickAsync(ring);
        await ring.ExpectEchoAsync(3);
        (await frontend.StopAsync(ring)).Should().Be(3);
        await frontend.StartAsync(ring, @base: 3);
        await ring.EchoAsync(4);
    });

    [Theory]
    [MemberData(nameof(Dispatches))]
    public Task A_base_near_the_end_of_the_index_wraps(QueueDispatch dispatch) => RunAsync(dispatch, async (frontend, guest, ring) =>
    {
        await frontend.AddMemoryAsync(guest);
        ring.StartAt(0xfffe);
        await frontend.StartAsync(ring, @base: 0xfffe);
        for (byte i = 0; i < 4; i++)
            await ring.EchoAsync(i);
        (await frontend.StopAsync(ring)).Should().Be(2);
    });

    [Theory]
    [MemberData(nameof(Dispatches))]
    public async Task Without_bit_30_a_ring_is_enabled_from_the_start(QueueDispatch dispatch)
    {
        await using var bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (var frontend = await bench.ConnectAsync())
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 0);
            await frontend.NegotiateAsync(protocolFeatures: false);
            var (payload, descriptors) = RawFrontend.TableOf(guest);
            await frontend.SendAsync(VhostUserRequest.SetMemTable, payload, descriptors);
            await frontend.DescribeAsync(ring);
            await frontend.KickAsync(ring);
            await ring.EchoAsync(9);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [MemberData(nameof(Dispatches))]
    public Task Rings_run_on_while_the_table_is_replaced(QueueDispatch dispatch) => RunAsync(dispatch, async (frontend, guest, ring) =>
    {
        using var other = new TestGuest(slot: 1);
        await frontend.SetMemoryTableAsync(guest);
        await frontend.StartAsync(ring);
        for (byte i = 0; i < 20; i++)
        {
            ring.SubmitAndKick(i);
            await frontend.SetMemoryTableAsync(i % 2 == 0 ? [guest, other] : [guest]);
            await ring.ExpectEchoAsync(i);
        }
    });

    [Theory]
    [MemberData(nameof(Dispatches))]
    public Task A_table_without_the_ring_stops_it_until_it_is_back(QueueDispatch dispatch) => RunAsync(
        dispatch,
        async (frontend, guest, ring) =>
        {
            using var other = new TestGuest(slot: 1);
            await frontend.SetMemoryTableAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            await frontend.SetMemoryTableAsync(other);
            ring.SubmitAndKick(2);
            await frontend.BarrierAsync();
            ring.UsedIndex.Should().Be(1);
            await frontend.SetMemoryTableAsync(other, guest);
            await ring.ExpectEchoAsync(2);
        },
        lines: 1);

    [Theory]
    [MemberData(nameof(Dispatches))]
    public Task Kick_and_call_may_be_replaced_while_the_ring_runs(QueueDispatch dispatch) => RunAsync(dispatch, async (frontend, guest, ring) =>
    {
        using var kick = new EventNotifier();
        using var call = new EventNotifier();
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
        await frontend.AcceptedAsync(VhostUserRequest.SetVringCall, RawFrontend.Word(ring), call.Descriptor);
        call.TryConsume().Should().BeTrue("the new descriptor is signalled once, so that no interrupt is lost");
        await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), kick.Descriptor);
        ring.Submit(2);
        kick.Signal();
        await ring.ExpectEchoAsync(2);
        call.Wait(TimeSpan.FromSeconds(10)).Should().BeTrue();
        await frontend.AcceptedAsync(VhostUserRequest.SetVringCall, RawFrontend.Word(ring, noDescriptor: true));
        await frontend.AcceptedAsync(VhostUserRequest.SetVringKick, RawFrontend.Word(ring), ring.Kick.Descriptor);
        await ring.EchoAsync(3);
    });

    [Theory]
    [MemberData(nameof(Dispatches))]
    public async Task A_device_that_throws_breaks_its_queue_alone(QueueDispatch dispatch)
    {
        var device = new EchoDevice();
        await using var bench = await HostileBench.StartAsync(device, new VhostUserBackendOptions { Dispatch = dispatch });
        device.ThrowingQueue = 0;
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var broken = new TestRing(guest, 0);
            using var good = new TestRing(guest, 1);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(broken);
            await frontend.StartAsync(good);
            broken.Error.Wait(TimeSpan.FromSeconds(10)).Should().BeTrue();
            await good.EchoAsync(1);
            bench.Complaints.Should().ContainSingle().Which.Should().Contain("InvalidOperationException").And.Contain("queue 0");
            (await frontend.StopAsync(broken)).Should().Be(0);
            device.ThrowingQueue = -1;
            await frontend.StartAsync(broken);
            await broken.EchoAsync(2);
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Theory]
    [MemberData(nameof(Dispatches))]
    public async Task Stopping_waits_for_requests_in_flight(QueueDispatch dispatch)
    {
        await using var bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 0);
            bench.Device.KeepRequests = true;
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
            var stopping = frontend.StopAsync(ring);
            bench.Device.Kept.TryDequeue(out var kept).Should().BeTrue();
            stopping.IsCompleted.Should().BeFalse("a request is in flight");
            kept!.Complete(0);
            (await stopping).Should().Be(1);
            ring.UsedIndex.Should().Be(1);
            bench.Device.KeepRequests = false;
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [MemberData(nameof(Dispatches))]
    public async Task R19_Memory_is_removed_only_after_requests_in_it_are_done(QueueDispatch dispatch)
    {
        await using var bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var other = new TestGuest(slot: 1);
            using var ring = new TestRing(guest, 0);
            bench.Device.KeepRequests = true;
            await frontend.AddMemoryAsync(guest);
            await frontend.AddMemoryAsync(other);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
            var removing = frontend.RemoveMemoryAsync(other);
            bench.Device.Kept.TryDequeue(out var kept).Should().BeTrue();
            removing.IsCompleted.Should().BeFalse("a request still holds the old table");
            kept!.Complete(0);
            await removing;
            bench.Device.KeepRequests = false;
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [InlineData(VhostUserRequest.ResetDevice)]
    [InlineData(VhostUserRequest.ResetOwner)]
    public async Task A_reset_stops_and_disables_all_rings_and_keeps_the_memory(VhostUserRequest request)
    {
        await using var bench = await HostileBench.StartAsync();
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            var resets = bench.Device.Resets;
            await frontend.AcceptedAsync(VhostUserRequest.SetStatus, RawFrontend.U64(7));
            await frontend.AcceptedAsync(request);
            bench.Device.Resets.Should().Be(resets + 1);
            (await frontend.AskU64Async(VhostUserRequest.GetStatus)).Should().Be(0);
            ring.StartAt(0);
            var features = await frontend.AskU64Async(VhostUserRequest.GetFeatures);
            await frontend.AcceptedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(features));
            await frontend.DescribeAsync(ring);
            ring.Submit(2);
            await frontend.KickAsync(ring);
            await frontend.BarrierAsync();
            ring.UsedIndex.Should().Be(0, "the ring is disabled after a reset");
            await frontend.EnableAsync(ring);
            await ring.ExpectEchoAsync(2);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task Status_0_resets_the_device_and_the_base_can_still_be_asked_for()
    {
        await using var bench = await HostileBench.StartAsync();
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            await frontend.AcceptedAsync(VhostUserRequest.SetStatus, RawFrontend.U64(0xf));
            (await frontend.AskU64Async(VhostUserRequest.GetStatus)).Should().Be(0xf);
            await frontend.RefusedAsync(VhostUserRequest.SetStatus, RawFrontend.U64(0x100));
            await frontend.AcceptedAsync(VhostUserRequest.SetStatus, RawFrontend.U64(0));
            (await frontend.AskU64Async(VhostUserRequest.GetStatus)).Should().Be(0);
            (await frontend.StopAsync(ring)).Should().Be(1);
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public async Task Every_way_to_start_the_back_end_serves_a_front_end()
    {
        using var socket = new TempSocket();
        using var stop = new CancellationTokenSource();
        await using var backend = new VhostUserBackend(new EchoDevice());
        var (front, back) = VhostUserConnection.CreatePair();
        var pair = backend.ServeAsync(back, stop.Token);
        await using (var frontend = new RawFrontend(front))
            await EchoOnceAsync(frontend);
        await pair.InTime();

        var client = backend.ConnectAsync(socket.Path, stop.Token);
        await using (var listener = VhostUserListener.Listen(socket.Path))
        {
            for (var i = 0; i < 2; i++)
            {
                await using var frontend = new RawFrontend(await listener.AcceptAsync().InTime());
                await EchoOnceAsync(frontend);
            }
        }

        await stop.CancelAsync();
        await client.InTime();
    }

    [Fact]
    public async Task A_thread_can_be_bound_to_a_processor()
    {
        var options = new VhostUserBackendOptions { Dispatch = QueueDispatch.DedicatedThread, Processors = [0, 1023] };
        await using var bench = await HostileBench.StartAsync(options: options);
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 1);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints.Single().Should().Contain("processor 1023");
    }

    private static async Task EchoOnceAsync(RawFrontend frontend)
    {
        using var guest = new TestGuest();
        using var ring = new TestRing(guest, 0);
        await frontend.NegotiateAsync();
        await frontend.AddMemoryAsync(guest);
        await frontend.StartAsync(ring);
        await ring.EchoAsync(1);
    }

    private static async Task RunAsync(QueueDispatch dispatch, Func<RawFrontend, TestGuest, TestRing, Task> dialogue, int lines = 0)
    {
        await using var bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (var frontend = await bench.NegotiatedAsync())
        {
            using var guest = new TestGuest();
            using var ring = new TestRing(guest, 0);
            await dialogue(frontend, guest, ring);
        }

        await bench.CheckInvariantsAsync(lines);
    }
}
