using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>Crypto sessions and sockets of displays, from front-ends that get their messages wrong.</summary>
[Collection(ProcessCounts.Name)]
public class CryptoAndGpuTests
{
    [Theory]
    [InlineData(VhostUserRequest.CreateCryptoSession, 0, false)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 631, false)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 633, false)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 1071, false)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 1073, false)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 632, true)]
    [InlineData(VhostUserRequest.CloseCryptoSession, 7, false)]
    [InlineData(VhostUserRequest.CloseCryptoSession, 9, false)]
    [InlineData(VhostUserRequest.CloseCryptoSession, 8, false)] // none was created
    [InlineData(VhostUserRequest.CloseCryptoSession, 8, true)]
    [InlineData(VhostUserRequest.GpuSetSocket, 0, false)]
    [InlineData(VhostUserRequest.GpuSetSocket, 0, true)] // an eventfd
    [InlineData(VhostUserRequest.GpuSetSocket, 8, true)]
    public async Task B35_Messages_of_another_shape_are_refused_and_the_device_hears_nothing(VhostUserRequest request, int size, bool withDescriptor)
    {
        using EventNotifier stray = new();
        BusyDevice device = new();
        await using SessionBench bench = await SessionBench.StartAsync(device);
        await bench.Frontend.SendAsync((uint)request, RawFrontend.NeedReply, new byte[size], withDescriptor ? [stray.Descriptor] : []);
        await bench.Frontend.ExpectRefusedOrClosedAsync(request);
        device.Heard.Should().Be(0);
    }

    [Theory]
    [InlineData(VhostUserRequest.CreateCryptoSession, 632)]
    [InlineData(VhostUserRequest.CreateCryptoSession, 1072)]
    [InlineData(VhostUserRequest.CloseCryptoSession, 8)]
    public async Task Of_another_device_no_sessions_are_asked(VhostUserRequest request, int size)
    {
        await using SessionBench bench = await SessionBench.StartAsync();
        await bench.Frontend.SendAsync((uint)request, RawFrontend.NeedReply, new byte[size]);
        await bench.Frontend.ExpectRefusedOrClosedAsync(request);
    }

    [Fact]
    public async Task B35_Sessions_and_sockets_without_end_leave_nothing_behind()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        BusyDevice device = new();
        await using (SessionBench bench = await SessionBench.StartAsync(device))
        {
            byte[] session = new byte[VhostUserCryptoSession.WideSize];
            for (int i = 0; i < 10_000; i++)
            {
                VhostUserCryptoSession.TryReadSessionId(await bench.Frontend.AskAsync(VhostUserRequest.CreateCryptoSession, session), out long id);
                await bench.Frontend.AcceptedAsync(VhostUserRequest.CloseCryptoSession, RawFrontend.U64((ulong)id));
            }

            for (int i = 0; i < 10_000; i++)
            {
                (Microsoft.Win32.SafeHandles.SafeFileHandle ours, Microsoft.Win32.SafeHandles.SafeFileHandle theirs) = Libc.UnixSocketPair();
                using (ours)
                using (theirs)
                    await bench.Frontend.AcceptedAsync(VhostUserRequest.GpuSetSocket, default, theirs);
            }
        }

        device.Heard.Should().Be(30_000);
        before.AssertBack();
    }

    /// <summary>Counts what it is told.</summary>
    private sealed class BusyDevice : ICryptoSessionDevice, IGpuDevice
    {
        private readonly EchoDevice _echo = new();

        public int Heard { get; private set; }

        public int QueueCount => 2;

        public VirtioFeatures Features => _echo.Features;

        public bool TryCreateSession(ulong id, in VhostUserCryptoSession session)
        {
            Heard++;
            return true;
        }

        public void CloseSession(ulong id) => Heard++;

        public void UseDisplays(VhostUserGpuChannel channel) => Heard++;

        public void Process(DeviceVirtqueue queue) => _echo.Process(queue);
    }
}
