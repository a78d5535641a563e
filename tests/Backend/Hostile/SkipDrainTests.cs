using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>GET_VRING_BASE_SKIP_DRAIN of every wrong shape and at every wrong time.</summary>
[Collection(ProcessCounts.Name)]
public class SkipDrainTests
{
    private const VhostUserRequest Request = VhostUserRequest.GetVringBaseSkipDrain;

    [Theory]
    [InlineData(VhostUserProtocolFeatures.GetVringBaseSkipDrain)]
    [InlineData(VhostUserProtocolFeatures.GetVringBaseInflight)]
    [InlineData(VhostUserProtocolFeatures.InflightShmFd)]
    public async Task Without_all_that_it_needs_it_is_refused(VhostUserProtocolFeatures withheld)
    {
        await using SessionBench bench = await SessionBench.StartAsync(new SuspendableEcho(), new() { WithheldProtocolFeatures = withheld });
        bench.Backend.OfferedProtocolFeatures.Should().NotHaveFlag(VhostUserProtocolFeatures.GetVringBaseSkipDrain);
        await bench.Frontend.SendAsync((uint)Request, RawFrontend.NeedReply, RawFrontend.State(0, 0));
        await bench.Frontend.ExpectRefusedOrClosedAsync(Request);
    }

    [Fact]
    public async Task A_device_that_cannot_do_it_does_not_offer_it()
    {
        await using SessionBench bench = await SessionBench.StartAsync();
        (bench.Backend.OfferedProtocolFeatures & (VhostUserProtocolFeatures.GetVringBaseSkipDrain | VhostUserProtocolFeatures.GetVringBaseInflight)).Should().Be(VhostUserProtocolFeatures.None);
    }

    [Fact]
    public async Task B13_A_queue_that_there_is_not_is_refused()
    {
        await using SessionBench bench = await SessionBench.StartAsync(new SuspendableEcho());
        await bench.Frontend.SendAsync((uint)Request, RawFrontend.NeedReply, RawFrontend.State(2, 0));
        await bench.Frontend.ExpectRefusedOrClosedAsync(Request);
    }

    [Fact]
    [Shows(Counterpart.Script, VhostUserRequest.GetVringBaseSkipDrain, VhostUserProtocolFeatures.GetVringBaseInflight, VhostUserProtocolFeatures.GetVringBaseSkipDrain)]
    public async Task B12_A_queue_that_is_stopped_tells_its_base_again_and_again()
    {
        await using SessionBench bench = await SessionBench.StartAsync(new SuspendableEcho());
        TestRing ring = await bench.RunAsync();
        await ring.EchoAsync(1);
        for (int i = 0; i < 3; i++)
            BitConverter.ToUInt32(await bench.Frontend.AskAsync(Request, RawFrontend.State(0, 0)), 4).Should().Be(1);
        await bench.Frontend.StartAsync(ring, 1);
        await ring.EchoAsync(2);
    }

    private sealed class SuspendableEcho : ISuspendableDevice
    {
        private readonly EchoDevice _echo = new();

        public int QueueCount => 2;

        public VirtioFeatures Features => _echo.Features;

        public void Process(DeviceVirtqueue queue) => _echo.Process(queue);

        public void SuspendQueue(int queue)
        {
        }
    }
}
