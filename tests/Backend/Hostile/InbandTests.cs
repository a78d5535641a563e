using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Kicks, interrupts and errors as messages.</summary>
[Collection(ProcessCounts.Name)]
public class InbandTests
{
    private static readonly VhostUserBackendOptions _inband = new()
    {
        AdditionalProtocolFeatures = VhostUserProtocolFeatures.InbandNotifications,
        DrainTimeout = TimeSpan.FromSeconds(2),
    };

    [Fact]
    public async Task A_ring_without_any_descriptor_starts_with_a_kick_message_and_calls_by_message()
    {
        await using SessionBench bench = await SessionBench.StartAsync(options: _inband);
        TestRing ring = bench.Ring();
        await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        await DescribeAsync(bench.Frontend, ring);
        ring.Submit(1);

        await bench.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));

        await ring.ExpectEchoAsync(1);
        using VhostUserMessage? call = await channel.ReceiveAsync().InTime();
        call!.Header.Should().Be(VhostUserHeader.ForRequest(VhostUserBackendRequest.VringCall, 8, needReply: true));
        call.Payload.ToArray().Should().Equal(RawFrontend.State(0, 0));
        ring.Call.TryConsume().Should().BeFalse();
    }

    [Fact]
    public async Task A_call_that_is_not_acknowledged_holds_up_nobody_and_those_meanwhile_become_one()
    {
        await using SessionBench bench = await SessionBench.StartAsync(options: _inband);
        TestRing ring = bench.Ring();
        await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        await StartAsync(bench.Frontend, ring);
        for (byte i = 0; i < 100; i++)
        {
            ring.Submit(i);
            await bench.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
            await ring.ExpectEchoAsync(i);
        }

        using (VhostUserMessage? first = await channel.ReceiveAsync().InTime())
            await AcknowledgeAsync(channel, first!);
        using (VhostUserMessage? second = await channel.ReceiveAsync().InTime())
            await AcknowledgeAsync(channel, second!);
        Task<VhostUserMessage?> third = channel.ReceiveAsync().AsTask();
        ring.Submit(200);
        await bench.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
        using (VhostUserMessage? message = await third.InTime())
            message!.Header.Request.Should().Be((uint)VhostUserBackendRequest.VringCall);
    }

    [Fact]
    public async Task A_broken_ring_is_told_by_message()
    {
        await using SessionBench bench = await SessionBench.StartAsync(options: _inband);
        TestRing ring = bench.Ring();
        await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        await StartAsync(bench.Frontend, ring);
        bench.Guest.Write(ring.AvailableOffset + 2, (ushort)(TestRing.Size + 1));
        await bench.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));

        uint request = 0;
        while (request != (uint)VhostUserBackendRequest.VringErr)
        {
            using VhostUserMessage? message = await channel.ReceiveAsync().InTime();
            request = message!.Header.Request;
            await AcknowledgeAsync(channel, message);
        }
    }

    [Fact]
    public async Task A_ring_with_descriptors_is_as_it_was_and_its_descriptor_goes_before_a_message()
    {
        await using SessionBench bench = await SessionBench.StartAsync(options: _inband);
        TestRing ring = await bench.RunAsync();
        await ring.EchoAsync(3);
        await Eventually.TrueAsync(() => ring.Call.TryConsume());
        await bench.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
        await ring.EchoAsync(4);
    }

    [Fact]
    public async Task A_stopped_ring_starts_again_where_it_was_with_the_next_kick_message()
    {
        await using SessionBench bench = await SessionBench.StartAsync(options: _inband);
        TestRing ring = bench.Ring();
        await StartAsync(bench.Frontend, ring);
        ring.Submit(1);
        await bench.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
        await ring.ExpectEchoAsync(1);
        (await bench.Frontend.StopAsync(ring)).Should().Be(1);
        ring.Submit(2);
        await bench.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
        await ring.ExpectEchoAsync(2);
    }

    [Fact]
    public async Task Acknowledged_without_what_it_needs_it_ends_the_connection()
    {
        foreach (VhostUserProtocolFeatures missing in new[] { VhostUserProtocolFeatures.BackendReq, VhostUserProtocolFeatures.ReplyAck })
        {
            await using HostileBench bench = await HostileBench.StartAsync(options: _inband);
            await using (RawFrontend frontend = await bench.ConnectAsync())
            {
                ulong offered = await frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures);
                await frontend.SendAsync(VhostUserRequest.SetProtocolFeatures, RawFrontend.U64(offered & ~(ulong)missing));
                await frontend.ExpectClosedAsync();
            }

            await bench.CheckInvariantsAsync(lines: 1);
            bench.Complaints[0].Should().Contain("INBAND_NOTIFICATIONS without").And.Contain(FeatureNames.Describe(missing));
        }
    }

    [Fact]
    public Task Not_offered_unless_asked_for() => HostileBench.AttackAsync(lines: 1, async frontend =>
    {
        ulong offered = await frontend.AskU64Async(VhostUserRequest.GetProtocolFeatures);
        (offered & (ulong)VhostUserProtocolFeatures.InbandNotifications).Should().Be(0);
        await frontend.RefusedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
    });

    [Fact]
    public Task Kicks_that_cannot_be_meant_are_refused() => HostileBench.AttackAsync(
        lines: 7,
        async frontend =>
        {
            using EventNotifier stray = new();
            await frontend.RefusedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0)); // not described
            await frontend.RefusedAsync(VhostUserRequest.VringKick, RawFrontend.State(2, 0));
            await frontend.RefusedAsync(VhostUserRequest.VringKick, RawFrontend.State(uint.MaxValue, 0));
            await frontend.RefusedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 1));
            await frontend.RefusedAsync(VhostUserRequest.VringKick, new byte[7]);
            await frontend.RefusedAsync(VhostUserRequest.VringKick, new byte[9]);
            await frontend.RefusedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0), stray.Descriptor);
        },
        _inband);

    [Fact]
    public async Task Kicks_without_end_and_starts_and_stops_leave_nothing_behind()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: _inband);
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await using VhostUserConnection channel = await AttachChannelAsync(frontend);
            await frontend.AddMemoryAsync(guest);
            await StartAsync(frontend, ring);
            for (int i = 0; i < 100_000; i++)
                await frontend.SendAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
            await frontend.BarrierAsync();
            for (int i = 0; i < 300; i++)
            {
                await frontend.StopAsync(ring);
                await frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
            }

            ring.Submit(7);
            await frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
            await ring.ExpectEchoAsync(7);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    private static async Task StartAsync(RawFrontend frontend, TestRing ring)
    {
        await DescribeAsync(frontend, ring);
        await frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State((uint)ring.Index, 0));
    }

    private static async Task DescribeAsync(RawFrontend frontend, TestRing ring)
    {
        uint index = (uint)ring.Index;
        await frontend.SendAsync(VhostUserRequest.SetVringNum, RawFrontend.State(index, TestRing.Size));
        await frontend.SendAsync(VhostUserRequest.SetVringAddr, RawFrontend.Bytes(ring.Address));
        await frontend.EnableAsync(ring);
    }

    private static async Task AcknowledgeAsync(VhostUserConnection channel, VhostUserMessage message)
    {
        if (message.Header.NeedsReply)
            await channel.SendAsync(message.Header.AsReply(8), new byte[8]);
    }

    private static async Task<VhostUserConnection> AttachChannelAsync(RawFrontend frontend)
    {
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (theirs)
            await frontend.AcceptedAsync(VhostUserRequest.SetBackendReqFd, default, theirs);
        return VhostUserConnection.Adopt(ours);
    }
}
