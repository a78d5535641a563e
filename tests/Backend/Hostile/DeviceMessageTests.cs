using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Messages that go to the device.</summary>
[Collection(ProcessCounts.Name)]
public class DeviceMessageTests
{
    [Theory]
    [InlineData(null, 65535UL)]
    [InlineData(1500, 1500UL)]
    [Shows(Counterpart.Script, VhostUserRequest.NetSetMtu, VhostUserProtocolFeatures.NetMtu)]
    public async Task B35_An_MTU_that_the_device_does_not_take_is_refused_with_its_number(int? limit, ulong largest)
    {
        LogRecorder log = new();
        NetDevice device = new(new NetDeviceOptions { Mtu = limit ?? 65535 });
        await WithNetDeviceAsync(device, log, async frontend =>
        {
            foreach (ulong mtu in new[] { 0UL, 67UL, largest + 1, 65536UL, ulong.MaxValue })
            {
                await frontend.RefusedAsync(VhostUserRequest.NetSetMtu, RawFrontend.U64(mtu));
                log.Lines.Should().ContainMatch($"*VHOST_USER_NET_SET_MTU*{mtu}*");
            }

            device.Mtu.Should().BeNull();
            await frontend.AcceptedAsync(VhostUserRequest.NetSetMtu, RawFrontend.U64(largest));
            await frontend.RefusedAsync(VhostUserRequest.NetSetMtu, RawFrontend.U64(0));
            device.Mtu.Should().Be((int)largest, "a refusal changes nothing");
        });
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.SendRarp, VhostUserProtocolFeatures.Rarp)]
    public Task B35_Announcements_without_end_and_with_junk_in_the_address_take_no_memory() => WithNetDeviceAsync(
        new NetDevice(new NetDeviceOptions()), new LogRecorder(), async frontend =>
        {
            ProcessHealth before = ProcessHealth.Snapshot();
            for (ulong i = 0; i < 10_000; i++)
                await frontend.SendAsync(VhostUserRequest.SendRarp, RawFrontend.U64(ulong.MaxValue - i));
            await frontend.AcceptedAsync(VhostUserRequest.SendRarp, RawFrontend.U64(0xFFFF_0200_0000_0001));
            before.AssertMemoryBounded();
        });

    [Theory]
    [InlineData(VhostUserRequest.ResetDevice, 0)]
    [InlineData(VhostUserRequest.ResetOwner, 0)]
    [InlineData(VhostUserRequest.SetStatus, 8)]
    [Shows(Counterpart.Script, VhostUserRequest.ResetOwner, VhostUserRequest.ResetDevice, VhostUserProtocolFeatures.ResetDevice)]
    public async Task B35_A_reset_while_the_device_keeps_requests_ends_in_time_and_they_reach_the_guest_no_more(VhostUserRequest reset, int size)
    {
        await using HostileBench bench = await HostileBench.StartAsync(options: new VhostUserBackendOptions { DrainTimeout = TimeSpan.FromMilliseconds(200) });
        await using (RawFrontend frontend = await bench.NegotiatedAsync())
        {
            using TestGuest guest = new();
            using TestRing ring = new(guest, 0);
            bench.Device.KeepRequests = true;
            await frontend.AddMemoryAsync(guest);
            await frontend.StartAsync(ring);
            ring.SubmitAndKick(1);
            await Eventually.TrueAsync(() => bench.Device.Kept.Count == 1);
            await frontend.AcceptedAsync(reset, new byte[size]);

            bench.Device.KeepRequests = false;
            bench.Device.Kept.TryDequeue(out DetachedChain? kept).Should().BeTrue();
            kept!.Complete(64);
            await frontend.SendAsync(VhostUserRequest.SetFeatures, RawFrontend.U64(await frontend.AskU64Async(VhostUserRequest.GetFeatures) & ~(ulong)VirtioFeatures.RingPacked));
            ring.UsedIndex.Should().Be(0, "a completion that comes after the reset belongs to nobody");
            await frontend.StartAsync(ring);
            await ring.ExpectEchoAsync(1); // the driver has it on the ring still
        }

        await bench.CheckInvariantsAsync(lines: 1);
        bench.Complaints[0].Should().Contain("did not complete within");
    }

    private static async Task WithNetDeviceAsync(NetDevice device, LogRecorder log, Func<RawFrontend, Task> act)
    {
        await using VhostUserBackend backend = new(device, new VhostUserBackendOptions { LoggerFactory = log });
        (VhostUserConnection front, VhostUserConnection back) = VhostUserConnection.CreatePair();
        Task serving = Task.Run(() => backend.ServeAsync(back));
        await using (RawFrontend frontend = new(front))
        {
            await frontend.NegotiateAsync();
            await act(frontend);
        }

        await serving.InTime();
    }
}
