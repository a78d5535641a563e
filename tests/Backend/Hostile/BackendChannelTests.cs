using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

[Collection(ProcessCounts.Name)]
public class BackendChannelTests
{
    [Fact]
    public Task B31_A_channel_that_is_no_socket_is_refused() => HostileBench.AttackAsync(lines: 2, async frontend =>
    {
        using EventNotifier notifier = new();
        using SafeFileHandle file = File.OpenHandle("/proc/self/status");
        await frontend.RefusedAsync(VhostUserRequest.SetBackendReqFd, default, notifier.Descriptor);
        await frontend.RefusedAsync(VhostUserRequest.SetBackendReqFd, default, file);
    });

    [Fact]
    public async Task B31_Each_channel_takes_the_place_of_the_one_before_which_is_closed()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            VhostUserConnection channel = await AttachChannelAsync(frontend);
            ProcessCounts before = ProcessCounts.Snapshot();
            for (int i = 0; i < 1000; i++)
            {
                VhostUserConnection next = await AttachChannelAsync(frontend);
                (await channel.ReceiveAsync().InTime()).Should().BeNull("the replaced channel is closed");
                await channel.DisposeAsync();
                channel = next;
                await bench.Backend.NotifyConfigChangedAsync();
                using VhostUserMessage? message = await channel.ReceiveAsync().InTime();
                message!.Header.Should().Be(VhostUserHeader.ForRequest(VhostUserBackendRequest.ConfigChangeMsg, 0));
            }

            before.AssertBack();
            await channel.DisposeAsync();
            await ring.EchoAsync(2);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SetBackendReqFd, VhostUserBackendRequest.ConfigChangeMsg, VhostUserProtocolFeatures.BackendReq)]
    public async Task A_notification_waits_until_a_ring_is_started()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await using VhostUserConnection channel = await AttachChannelAsync(frontend);
            await bench.Backend.NotifyConfigChangedAsync();
            await bench.Backend.NotifyConfigChangedAsync();
            Task<VhostUserMessage?> received = channel.ReceiveAsync().AsTask();
            await frontend.AddMemoryAsync(guest);
            received.IsCompleted.Should().BeFalse("a suspended device is silent");
            await frontend.StartAsync(ring);
            using VhostUserMessage? message = await received.InTime();
            message!.Header.Request.Should().Be((uint)VhostUserBackendRequest.ConfigChangeMsg);
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Fact]
    public async Task B31_A_channel_that_nobody_reads_is_given_up_and_the_session_goes_on()
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { SendTimeout = TimeSpan.FromMilliseconds(200) });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            await using VhostUserConnection channel = await AttachChannelAsync(frontend);
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            await ring.EchoAsync(1);
            await Eventually.TrueAsync(() =>
            {
                _ = bench.Backend.NotifyConfigChangedAsync().AsTask();
                return bench.Complaints.Count == 1;
            });
            await ring.EchoAsync(2);
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    [Fact]
    public async Task A_front_end_that_talks_nonsense_on_the_channel_loses_the_channel()
    {
        await using HostileBench bench = await HostileBench.StartAsync();
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            await using VhostUserConnection channel = await AttachChannelAsync(frontend);
            await channel.SendAsync(new VhostUserHeader(2, (VhostUserHeaderFlags)5, 0), default);
            await Eventually.TrueAsync(() => bench.Complaints.Count == 1);
            await frontend.BarrierAsync();
        }

        await bench.CheckInvariantsAsync(lines: 1);
    }

    private static async Task<VhostUserConnection> AttachChannelAsync(RawFrontend frontend)
    {
        (SafeFileHandle ours, SafeFileHandle theirs) = Libc.UnixSocketPair();
        using (theirs)
            await frontend.AcceptedAsync(VhostUserRequest.SetBackendReqFd, default, theirs);
        return VhostUserConnection.Adopt(ours);
    }
}
