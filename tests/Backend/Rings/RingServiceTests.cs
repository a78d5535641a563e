using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>What devices do to rings: failing, keeping requests, not coming back; and what a reset does.</summary>
[Collection(ProcessCounts.Name)]
public class RingServiceTests
{
    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task A_device_that_throws_breaks_its_queue_alone(QueueDispatch dispatch)
    {
        EchoDevice device = new();
        await using HostileBench bench = await HostileBench.StartAsync(device, new VhostUserBackendOptions { Dispatch = dispatch });
        device.ThrowingQueue = 0;
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing broken = new(guest, 0);
            using TestRing good = new(guest, 1);
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
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task Stopping_waits_for_requests_in_flight(QueueDispatch dispatch)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            bench.Device.KeepRequests = true;
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
            Task<uint> stopping = frontend.StopAsync(ring);
            bench.Device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
            stopping.IsCompleted.Should().BeFalse("a request is in flight");
            kept!.Complete(0);
            (await stopping).Should().Be(1);
            ring.UsedIndex.Should().Be(1);
            bench.Device.KeepRequests = false;
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>QEMU 7.2 resets by status before it asks. Whoever is told nothing goes on at the used index, and the request comes again.</summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public async Task A_queue_whose_requests_do_not_end_has_stopped_nowhere(bool resetsFirst, bool breaksFirst)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(50) });
        using (TestGuest guest = new())
        using (TestRing ring = new(guest, 0))
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            bench.Device.KeepRequests = true;
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
            if (resetsFirst)
                await frontend.AcceptedAsync(VhostUserRequest.SetStatus, RawFrontend.U64(0));
            if (breaksFirst)
            {
                guest.Write(ring.AvailableOffset + 2, (ushort)100);
                ring.Kick.Signal();
                ring.Error.Wait(TimeSpan.FromSeconds(10)).Should().BeTrue("the ring makes no sense");
            }

            await frontend.SendAsync(VhostUserRequest.GetVringBase, RawFrontend.State(0, 0));

            await frontend.ExpectClosedAsync();
            ring.UsedIndex.Should().Be(0);
            bench.Device.KeepRequests = false;
            bench.Device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
            kept!.Complete(0);
        }

        await bench.CheckInvariantsAsync(lines: null);
    }

    [Theory]
    [InlineData(VhostUserRequest.ResetDevice)]
    [InlineData(VhostUserRequest.ResetOwner)]
    public async Task A_reset_stops_and_disables_all_rings_and_keeps_the_memory(VhostUserRequest request)
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            int resets = bench.Device.Resets;
            await frontend.AcceptedAsync(VhostUserRequest.SetStatus, RawFrontend.U64(7));
            await frontend.AcceptedAsync(request);
            bench.Device.Resets.Should().Be(resets + 1);
            (await frontend.AskU64Async(VhostUserRequest.GetStatus)).Should().Be(0);
            ring.StartAt(0);
            ulong features = await frontend.AskU64Async(VhostUserRequest.GetFeatures);
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
    [Shows(Counterpart.Script, VhostUserRequest.SetStatus, VhostUserRequest.GetStatus, VhostUserProtocolFeatures.Status)]
    public async Task Status_0_resets_the_device_and_the_base_can_still_be_asked_for()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
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

    /// <summary>Stopping the queue and changing it both wait for it.</summary>
    [Theory]
    [InlineData(QueueDispatch.Async, VhostUserRequest.GetVringBase)]
    [InlineData(QueueDispatch.Async, VhostUserRequest.SetVringEnable)]
    [InlineData(QueueDispatch.DedicatedThread, VhostUserRequest.GetVringBase)]
    [InlineData(QueueDispatch.DedicatedThread, VhostUserRequest.SetVringEnable)]
    [InlineData(QueueDispatch.BusyPoll, VhostUserRequest.GetVringBase)]
    [InlineData(QueueDispatch.BusyPoll, VhostUserRequest.SetVringEnable)]
    public async Task A_device_that_does_not_come_back_costs_the_connection_and_not_the_back_end(QueueDispatch dispatch, VhostUserRequest request)
    {
        VhostUserBackendOptions options = new() { Dispatch = dispatch, DrainTimeout = TimeSpan.FromMilliseconds(100) };
        await using HostileBench bench = await HostileBench.StartAsync(options: options);
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            bench.Device.Gate.Reset();
            ring.SubmitAndKick(2);
            await Eventually.TrueAsync(() => bench.Device.Blocked > 0);
            await frontend.SendAsync(request, RawFrontend.State(0, 0));
            await frontend.ExpectClosedAsync();
            bench.Device.Gate.Set();
        }

        // A change that was refused may be followed by a stop that is late as well.
        bool stops = request == VhostUserRequest.GetVringBase;
        await bench.CheckInvariantsAsync(lines: stops ? 1 : null);
        bench.Complaints[0].Should().Contain("did not return from Process");
        bench.Complaints.Should().HaveCountLessThanOrEqualTo(2);
    }

    [Fact]
    public async Task What_a_device_throws_outside_of_a_queue_refuses_the_message()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            await frontend.BarrierAsync();
            bench.Device.ThrowsOnControl = true;
            byte[] config = new byte[VhostUserConfig.HeaderSize + 1];
            new VhostUserConfig(32, 1, 0).Write(config);
            await frontend.RefusedAsync(VhostUserRequest.SetFeatures, RawFrontend.U64((ulong)VirtioFeatures.Version1));
            await frontend.RefusedAsync(VhostUserRequest.SetConfig, config);
            (await frontend.AskAsync(VhostUserRequest.GetConfig, config)).Should().BeEmpty();
            bench.Device.ThrowsOnControl = false;
        }

        await bench.CheckInvariantsAsync(lines: 3);
        bench.Complaints.Should().AllSatisfy(line => line.Should().Contain("told to fail"));
    }
}
