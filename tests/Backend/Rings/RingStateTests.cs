using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Rings;

/// <summary>The two dimensions of a ring, started or stopped and enabled or disabled, for each way to wait.</summary>
[Collection(ProcessCounts.Name)]
public class RingStateTests
{
    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public Task Requests_are_served_only_when_started_and_enabled(QueueDispatch dispatch) => RingDialogue.RunAsync(dispatch, async (frontend, guest, ring) =>
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
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public Task A_ring_is_looked_at_after_start_without_a_kick(QueueDispatch dispatch) => RingDialogue.RunAsync(dispatch, async (frontend, guest, ring) =>
    {
        await frontend.AddMemoryAsync(guest);
        ring.Submit(1);
        ring.Submit(2);
        await frontend.StartAsync(ring);
        await ring.ExpectEchoAsync(1);
        await ring.ExpectEchoAsync(2);
    });

    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public Task A_ring_restarts_where_it_stopped(QueueDispatch dispatch) => RingDialogue.RunAsync(dispatch, async (frontend, guest, ring) =>
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
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public Task A_base_near_the_end_of_the_index_wraps(QueueDispatch dispatch) => RingDialogue.RunAsync(dispatch, async (frontend, guest, ring) =>
    {
        await frontend.AddMemoryAsync(guest);
        ring.StartAt(0xfffe);
        await frontend.StartAsync(ring, @base: 0xfffe);
        for (byte i = 0; i < 4; i++)
            await ring.EchoAsync(i);
        (await frontend.StopAsync(ring)).Should().Be(2);
    });

    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public async Task Without_bit_30_a_ring_is_enabled_from_the_start(QueueDispatch dispatch)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { Dispatch = dispatch });
        await using (RawFrontend frontend = await bench.ConnectAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.NegotiateAsync(protocolFeatures: false);
            (byte[] payload, SafeHandle[] descriptors) = RawFrontend.TableOf(guest);
            await frontend.SendAsync(VhostUserRequest.SetMemTable, payload, descriptors);
            await frontend.DescribeAsync(ring);
            await frontend.KickAsync(ring);
            await ring.EchoAsync(9);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [MemberData(nameof(RingDialogue.Dispatches), MemberType = typeof(RingDialogue))]
    public Task Kick_and_call_may_be_replaced_while_the_ring_runs(QueueDispatch dispatch) => RingDialogue.RunAsync(dispatch, async (frontend, guest, ring) =>
    {
        using EventNotifier kick = new();
        using EventNotifier call = new();
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
}
