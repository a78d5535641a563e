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
    [Shows(Counterpart.Script, VhostUserRequest.VringKick, VhostUserBackendRequest.VringCall, VhostUserProtocolFeatures.InbandNotifications)]
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
        await bench.Frontend.BarrierAsync();
        third.IsCompleted.Should().BeFalse("a hundred calls were two messages");
        ring.Submit(200);
        await bench.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
        using (VhostUserMessage? message = await third.InTime())
            message!.Header.Request.Should().Be((uint)VhostUserBackendRequest.VringCall);
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserBackendRequest.VringErr)]
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
        await ring.Call.WaitAsync().InTime();
        ring.Call.TryConsume().Should().BeTrue();
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
            for (int i = 0; i < 10_000; i++) // with a call under way that is not acknowledged
            {
                await frontend.StopAsync(ring);
                await frontend.SendAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
            }

            ring.Submit(7);
            await frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
            await ring.ExpectEchoAsync(7);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    /// <summary>Ring 1 stays started, so that the device is not suspended while ring 0 stands still.</summary>
    [Fact]
    public async Task A_ring_that_breaks_without_end_has_one_message_under_way()
    {
        await using BrokenRing broken = await BrokenRing.StartAsync(withNeighbour: true);
        await using VhostUserConnection channel = await AttachChannelAsync(broken.Frontend);
        for (int i = 0; i < 50; i++)
        {
            await broken.KickAsync();
            await broken.Frontend.StopAsync(broken.Ring);
        }

        Task behind = broken.Backend.NotifyConfigChangedAsync().AsTask();
        int messages = 0;
        while (await ReceiveAndAcknowledgeAsync(channel) != VhostUserBackendRequest.ConfigChangeMsg)
            messages++;
        await behind.InTime();
        messages.Should().BeLessThan(4, "one for the call and one for the error of each ring");
    }

    [Fact]
    public async Task An_error_of_which_nobody_could_be_told_is_told_on_the_channel_that_comes_late()
    {
        await using BrokenRing broken = await BrokenRing.StartAsync();
        await broken.KickAsync();
        await using VhostUserConnection channel = await AttachChannelAsync(broken.Frontend);
        (await ReceiveAndAcknowledgeAsync(channel)).Should().Be(VhostUserBackendRequest.VringCall, "one may have been meant for it");
        (await ReceiveAndAcknowledgeAsync(channel)).Should().Be(VhostUserBackendRequest.VringErr);
    }

    [Fact]
    public async Task A_channel_that_takes_the_place_of_one_on_which_nobody_answers_is_told_again()
    {
        await using BrokenRing broken = await BrokenRing.StartAsync();
        await using VhostUserConnection first = await AttachChannelAsync(broken.Frontend);
        await broken.KickAsync();
        (await first.ReceiveAsync().InTime())!.Dispose(); // and says nothing
        await using VhostUserConnection second = await AttachChannelAsync(broken.Frontend);
        while (await ReceiveAndAcknowledgeAsync(second) != VhostUserBackendRequest.VringErr)
        {
        }
    }

    [Fact]
    public async Task A_ring_that_started_again_has_no_error_of_before()
    {
        await using BrokenRing broken = await BrokenRing.StartAsync();
        await broken.KickAsync();
        await broken.Frontend.StopAsync(broken.Ring);
        broken.Repair();
        await broken.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
        await using VhostUserConnection channel = await AttachChannelAsync(broken.Frontend);
        (await ReceiveAndAcknowledgeAsync(channel)).Should().Be(VhostUserBackendRequest.VringCall, "one may have been meant for it");
        broken.Ring.Submit(1);
        await broken.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
        (await ReceiveAndAcknowledgeAsync(channel)).Should().Be(VhostUserBackendRequest.VringCall, "an error would have come before it");
    }

    /// <summary>While it is suspended it says nothing.</summary>
    [Fact]
    public async Task A_call_that_was_due_when_the_ring_stopped_comes_when_it_starts_again()
    {
        await using SessionBench bench = await SessionBench.StartAsync(options: _inband);
        TestRing ring = bench.Ring();
        await StartAsync(bench.Frontend, ring);
        ring.Submit(1);
        await bench.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
        await ring.ExpectEchoAsync(1);
        await bench.Frontend.StopAsync(ring);
        await using VhostUserConnection channel = await AttachChannelAsync(bench.Frontend);
        Task<VhostUserMessage?> call = channel.ReceiveAsync().AsTask();
        await bench.Frontend.BarrierAsync();
        call.IsCompleted.Should().BeFalse();
        await bench.Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
        using VhostUserMessage? message = await call.InTime();
        message!.Header.Request.Should().Be((uint)VhostUserBackendRequest.VringCall);
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

    private static async Task<VhostUserBackendRequest> ReceiveAndAcknowledgeAsync(VhostUserConnection channel)
    {
        using VhostUserMessage? message = await channel.ReceiveAsync().InTime();
        await AcknowledgeAsync(channel, message!);
        return (VhostUserBackendRequest)message!.Header.Request;
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

    /// <summary>A ring that breaks whenever it is looked at: its available index is more than the ring away.</summary>
    private sealed class BrokenRing(SessionBench bench, TestRing ring, SemaphoreSlim broke) : IAsyncDisposable
    {
        public RawFrontend Frontend => bench.Frontend;

        public VhostUserBackend Backend => bench.Backend;

        public TestRing Ring => ring;

        public static async Task<BrokenRing> StartAsync(bool withNeighbour = false)
        {
            SemaphoreSlim broke = new(0);
            SessionBench bench = await SessionBench.StartAsync(options: _inband, listen: backend => backend.QueueStateChanged += (_, change) =>
            {
                if (change.Now == QueueState.Broken)
                    broke.Release();
            });
            TestRing ring = bench.Ring();
            await DescribeAsync(bench.Frontend, ring);
            bench.Guest.Write(ring.AvailableOffset + 2, (ushort)(TestRing.Size + 1));
            if (withNeighbour)
                await InbandTests.StartAsync(bench.Frontend, bench.Ring(1));
            return new BrokenRing(bench, ring, broke);
        }

        /// <summary>Starts the ring, and ends when it has broken.</summary>
        public async Task KickAsync()
        {
            await Frontend.AcceptedAsync(VhostUserRequest.VringKick, RawFrontend.State(0, 0));
            (await broke.WaitAsync(Eventually.Deadline)).Should().BeTrue();
        }

        public void Repair() => bench.Guest.Write(ring.AvailableOffset + 2, ring.SubmittedIndex);

        public async ValueTask DisposeAsync()
        {
            await bench.DisposeAsync();
            broke.Dispose();
        }
    }
}
